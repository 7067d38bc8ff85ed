//! Every sender with every worker, for Celery's everyday features.

use celeriac::TaskState;
use celeriac::protocol::Codec;
use celeriac_tests::Bed;
use serde_json::{Value, json};

use crate::sides::{Call, Side, Sides, Told};

/// The cases for each sender and each worker.
const CASES: [&str; 12] = [
    "success",
    "failure",
    "retry then success",
    "retries exhausted",
    "countdown",
    "expired",
    "ignored result",
    "link",
    "errback",
    "chain of three across",
    "1 MiB argument",
    "unicode name and argument",
];

#[celeriac_tests::test(real)]
async fn every_sender_gets_along_with_every_worker_in_json(bed: Bed) {
    matrix(&bed, Codec::Json).await;
}

#[celeriac_tests::test(real)]
async fn every_sender_gets_along_with_every_worker_in_messagepack(bed: Bed) {
    matrix(&bed, Codec::Msgpack).await;
}

async fn matrix(bed: &Bed, codec: Codec) {
    let mut sides = Sides::start(bed, codec).await;
    let pairs = Side::BOTH.map(|sender| Side::BOTH.map(|worker| (sender, worker)));
    let pairs: Vec<_> = pairs.into_iter().flatten().collect();
    let heads: Vec<_> = pairs.iter().map(|(sender, worker)| format!("{sender:?} → {worker:?}")).collect();
    println!("{:<26} {}", codec.name(), heads.iter().map(|head| format!("{head:<28}")).collect::<String>());
    let mut wrong = Vec::new();
    for case in CASES {
        let mut row = format!("{case:<26} ");
        for &(sender, worker) in &pairs {
            let cell = match try_out(&mut sides, case, sender, worker).await {
                Ok(seen) => seen,
                Err(seen) => {
                    wrong.push(format!("{case}, {sender:?} → {worker:?}: {seen}"));
                    format!("WRONG {seen}")
                }
            };
            row.push_str(&format!("{:<28}", cell.chars().take(26).collect::<String>()));
        }
        println!("{}", row.trim_end());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    sides.stop().await;
}

/// Runs a case. Returns the observation if it is correct.
async fn try_out(sides: &mut Sides, case: &str, sender: Side, worker: Side) -> Result<String, String> {
    let task = |name| worker.task(name);
    // A note that is unique in the table.
    let note = json!(format!("{case} {sender:?} {worker:?}"));
    let result = |value: Value| Told::Result(value);
    let (call, expected) = match case {
        "success" => (Call::new(task("add"), [json!(1), json!(2)]), result(json!(3))),
        "failure" => (
            Call::new(task("fail"), [json!("ValueError"), json!("no ✗")]),
            Told::error(TaskState::Failure, "ValueError", "no ✗"),
        ),
        "retry then success" => (Call::new(task("flaky"), [json!(2)]), result(json!(3))),
        "retries exhausted" => (
            Call::new(task("exhausted"), []),
            // Celery reports the exception that the task gave for its retry; Celeriac's retry has
            // none.
            match worker {
                Side::Python => Told::error(TaskState::Failure, "ValueError", "attempt 2"),
                Side::Rust => Told::error(TaskState::Failure, "MaxRetriesExceededError", "attempt 2"),
            },
        ),
        "countdown" => (Call::new(task("add"), [json!(1), json!(2)]).option("countdown", 1), result(json!(3))),
        "expired" => (
            Call::new(task("add"), [json!(1), json!(2)]).option("countdown", 2).option("expires", 1),
            Told::error(TaskState::Revoked, "TaskRevokedError", "expired"),
        ),
        "1 MiB argument" => (Call::new(task("length"), [json!("x".repeat(1 << 20))]), result(json!(1 << 20))),
        "unicode name and argument" => {
            (Call::new(task("grüße"), []).kwarg("größe", "日本"), result(json!("Grüße, 日本 👋")))
        }
        "ignored result" => {
            // Only the task's note shows that it has run.
            sides.send(sender, &Call::new(task("ignored"), [note.clone()])).await;
            sides.noted("ignored", &[note]).await;
            return Ok("ran".to_owned());
        }
        "link" => {
            let link = Call::new(worker.other().task("collect"), [note.clone()]).json();
            (Call::new(task("add"), [json!(1), json!(2)]).option("link", link), result(json!(3)))
        }
        "errback" => {
            let errback = Call::new(worker.other().task("on_error"), [note.clone()]).json();
            (
                Call::new(task("fail"), [json!("KeyError"), json!("k")]).option("link_error", errback),
                Told::error(TaskState::Failure, "KeyError", "k"),
            )
        }
        _ => {
            let steps = [
                Call::new(task("add"), [json!(1), json!(2)]),
                Call::new(worker.other().task("add"), [json!(3)]),
                Call::new(task("add"), [json!(4)]),
            ];
            let id = sides.send_chain(sender, &steps).await;
            return seen(&sides.outcome(sender, worker, &id).await, &result(json!(10)));
        }
    };
    let id = sides.send(sender, &call).await;
    let told = sides.outcome(sender, worker, &id).await;
    match case {
        "link" => drop(sides.noted("collect", &[json!(3), note]).await),
        "errback" => drop(sides.noted("on_error", &[json!(id), note]).await),
        _ => {}
    }
    seen(&told, &expected)
}

fn seen(told: &Told, expected: &Told) -> Result<String, String> {
    let text = match told {
        Told::Result(value) => value.to_string(),
        Told::Error { kind, message, .. } => format!("{kind}: {message}"),
    };
    if told == expected { Ok(text) } else { Err(format!("{told:?}, expected {expected:?}")) }
}
