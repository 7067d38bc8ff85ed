//! Messages as Celery's clients write them, some of them recorded.

use std::sync::mpsc;
use std::time::Duration;

use celeriac::Failure;
use celeriac::prelude::*;
use celeriac::protocol::{Compression, Value};
use celeriac_tests::{Bed, assert_outcome};
use serde_json::{Value as Json, json};

use crate::letter::Letter;
use crate::stage::{Call, Stage, note};

/// The task of most recorded messages.
#[task(name = "interop.add")]
async fn recorded_add(ctx: TaskContext, x: i64, y: i64) -> TaskResult<i64> {
    note(&ctx, &json!(x), &json!(y))?;
    Ok(x + y)
}

/// The task of the other recorded messages.
#[task(name = "interop.echo")]
async fn recorded_echo(value: Json) -> TaskResult<Json> {
    Ok(value)
}

/// Requests two further attempts, each after this many milliseconds.
#[task(name = "t.again", max_retries = 5)]
async fn again(ctx: TaskContext, milliseconds: u64) -> TaskResult<u32> {
    note(&ctx, &json!(milliseconds), &Json::Null)?;
    match ctx.attempt() {
        attempt @ ..3 => Err(TaskError::retry_in(Duration::from_millis(milliseconds), format!("after {attempt}"))),
        attempt => Ok(attempt),
    }
}

/// Never ends, and would be retried after a failure.
#[task(name = "t.endless", max_retries = 3, retry_backoff = "10ms..20ms")]
async fn endless(ctx: TaskContext) -> TaskResult<()> {
    note(&ctx, &Json::Null, &Json::Null)?;
    std::future::pending().await
}

/// Runs until it is signalled to end.
#[task(name = "t.obedient")]
async fn obedient(ctx: TaskContext) -> TaskResult<bool> {
    ctx.cancelled().await;
    Ok(ctx.is_cancelled())
}

/// The same on a thread of its own.
#[task(name = "t.blocking")]
fn blocking(ctx: TaskContext) -> TaskResult<(Option<f64>, Option<f64>)> {
    let (_never, tick) = mpsc::channel::<()>();
    while !ctx.is_cancelled() {
        let _ = tick.recv_timeout(Duration::from_millis(5));
    }
    let limits = ctx.time_limits();
    Ok((limits.hard.map(|limit| limit.as_secs_f64()), limits.soft.map(|limit| limit.as_secs_f64())))
}

async fn stage(bed: &Bed) -> Stage {
    let tasks = tasks![recorded_add, recorded_echo, again, endless, obedient, blocking];
    Stage::with(bed, |program| program.tasks(tasks).set("broker.max_message_size", "64KiB")).await
}

fn id(letter: &Letter) -> String {
    let id = letter.headers.iter().find(|(name, _)| name == "id").and_then(|(_, id)| id.as_long_string());
    id.map(ToString::to_string).unwrap_or_default()
}

/// Returns the result of a message, after its end.
async fn result(stage: &Stage, letter: Letter, id: &str) -> Option<String> {
    letter.put(&stage.peer).await;
    let row = stage.row(id).await;
    assert_eq!((row.state, row.failure), (TaskState::Success, None), "{id}");
    row.result
}

/// Returns the reason of a dead letter, and the error in its row.
async fn refused(stage: &Stage, letter: Letter, id: &str) -> (String, String) {
    letter.put(&stage.peer).await;
    let dead = stage.dead(1).await.remove(0);
    assert_eq!(stage.end(id).await.0, TaskState::Failure, "{id}");
    (dead.header("celeriac-dead-reason").unwrap(), dead.header("celeriac-dead-error").unwrap())
}

#[celeriac_tests::test]
async fn tasks_of_protocol_1_hybrids_and_null_embeds_run(bed: Bed) {
    let stage = stage(&bed).await;
    let old = Letter::recorded("protocol_1");
    assert!(old.headers.is_empty(), "its headers stand in its body");
    assert_eq!(result(&stage, old, "b33f6430-0000-4000-8000-000000000001").await.as_deref(), Some("3"));
    assert_eq!(result(&stage, Letter::recorded("hybrid"), "hybrid").await.as_deref(), Some("3"));
    assert_eq!(result(&stage, Letter::recorded("null_embed"), "null-embed").await.as_deref(), Some("3"));
    let calls = stage.seen(4).await;
    let link = calls.iter().find(|call| call.parent.is_some()).unwrap();
    assert_eq!((&link.given, link.parent.as_deref()), (&(json!(3), json!(3)), Some("hybrid")), "the hybrid has a link");
    assert_eq!(stage.finish().await.len(), 4);
}

#[celeriac_tests::test]
async fn a_task_of_protocol_1_is_tried_again_as_one_of_protocol_2_with_all_that_it_carries(bed: Bed) {
    let stage = stage(&bed).await;
    let body = json!({
        "task": "t.again", "id": "old", "args": [10], "kwargs": {}, "group": "g", "group_index": 4, "retries": 0,
        "eta": null, "expires": null, "utc": true, "timelimit": [null, null], "taskset": null, "chord": null,
        "callbacks": [{"task": "t.see", "args": ["link"]}], "errbacks": null,
    });
    let mut letter = Letter::new("", "", &json!([])).body(body.to_string());
    letter.headers.clear();
    assert_eq!(result(&stage, letter, "old").await.as_deref(), Some("3"));
    stage.seen(4).await;
    let calls = stage.finish().await;
    let (attempts, link) = (&calls[..3], &calls[3]);
    for call in attempts {
        assert_eq!((call.group.as_deref(), call.index, &call.given.0), (Some("g"), Some(4), &json!(10)));
        assert_eq!(call.header("task"), Some(&Value::from("t.again")), "its headers are those of protocol 2");
    }
    assert_eq!((calls.len(), &link.given, link.parent.as_deref()), (4, &(json!(3), json!("link")), Some("old")));
}

#[celeriac_tests::test]
async fn a_task_that_is_put_back_until_it_is_due_says_that_it_may_be_there_twice(bed: Bed) {
    let stage = stage(&bed).await;
    let due = celeriac_telemetry::clock::now() + Duration::from_millis(2_500);
    let letter = Letter::new("t.see", "early", &json!(["x"])).header("eta", &json!(due.to_string()));
    letter.put(&stage.peer).await;
    assert_eq!(stage.end("early").await.0, TaskState::Success);
    assert!(celeriac_telemetry::clock::now() >= due, "it waits for its time");
    let calls = stage.finish().await;
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(call.header("celeriac-repeated"), Some(&Value::from(true)));
}

#[celeriac_tests::test]
async fn compressed_bodies_are_read_and_a_bomb_is_not(bed: Bed) {
    let stage = stage(&bed).await;
    for case in ["compression_gzip", "compression_bzip2", "compression_zstd"] {
        let letter = Letter::recorded(case);
        let id = id(&letter);
        let text = result(&stage, letter, &id).await.unwrap();
        assert!(text.starts_with("\"Gr") && text.len() > 500, "{case}: {text}");
    }
    for kind in [Compression::Zlib, Compression::Bzip2, Compression::Zstd] {
        let id = kind.header_value();
        let plain = |size: usize| json!([["x".repeat(size)], {}, {}]).to_string();
        let small = kind.compress(plain(60_000).as_bytes()).unwrap();
        let bomb = kind.compress(plain(5_000_000).as_bytes()).unwrap();
        assert!(bomb.len() < 64 * 1024, "{}: it is small as it comes", bomb.len());
        let letter = |body| Letter::new("interop.echo", id, &json!([])).body(body).header("compression", &json!(id));
        let (reason, error) = refused(&stage, letter(bomb), id).await;
        assert_eq!(reason, "unreadable", "{error}");
        assert!(error.contains("65536"), "{error}");
        let letter = letter(small).header("id", &json!(format!("small {id}")));
        let text = result(&stage, letter, &format!("small {id}")).await;
        assert_eq!(text.map(|text| text.len()), Some(60_002));
    }
    stage.finish().await;
}

#[celeriac_tests::test]
async fn what_is_not_spoken_is_refused_with_a_reason_and_never_run(bed: Bed) {
    let stage = stage(&bed).await;
    for (case, word) in [
        ("serializer_yaml", "yaml"),
        ("serializer_pickle", "python-serialize"),
        ("compression_lzma", "lzma"),
        ("compression_brotli", "brotli"),
    ] {
        let letter = Letter::recorded(case);
        let id = id(&letter);
        let (reason, error) = refused(&stage, letter, &id).await;
        assert_eq!(reason, "unreadable", "{case}");
        assert!(error.contains(word), "{case}: {error}");
    }
    assert_eq!(stage.finish().await, []);
}

fn deaths(call: &Call) -> String {
    let deaths: Vec<_> = call.headers.iter().filter(|(name, _)| name.starts_with("x-")).collect();
    format!("{deaths:?}")
}

#[celeriac_tests::test]
async fn a_retry_loses_its_deaths_and_keeps_unknown_headers_also_through_the_delay_levels(bed: Bed) {
    let stage = stage(&bed).await;
    for (id, wait) in [("at once", 20), ("held by the broker", 1_500)] {
        let death =
            json!([{"count": 1, "reason": "expired", "queue": "of-old", "exchange": "", "routing-keys": ["of-old"]}]);
        let letter = Letter::new("t.again", id, &json!([wait]))
            .header("tenant", &json!({"name": "Grüße", "numbers": [1, -5_000_000_000_i64, 0.5, null, true]}))
            .header("x-death", &death)
            .header("x-first-death-queue", &json!("of-old"))
            .header("x-last-death-reason", &json!("expired"));
        assert_eq!(result(&stage, letter, id).await.as_deref(), Some("3"), "{id}: no attempt is lost on its way");
    }
    let calls = stage.finish().await;
    assert_eq!(calls.len(), 6);
    for call in &calls {
        assert_eq!(call.header("tenant"), calls[0].header("tenant"), "{}", call.id);
    }
    assert!(calls[0].header("tenant").is_some());
    for attempts in calls.chunks(3) {
        assert!(deaths(&attempts[0]).contains("of-old"));
        assert!(attempts[1..].iter().all(|call| !deaths(call).contains("of-old")), "{attempts:?}");
    }
    assert_eq!(deaths(&calls[1]), "[]");
}

#[celeriac_tests::test(real)]
async fn rabbitmq_tells_in_which_level_a_retry_was_held(bed: Bed) {
    let stage = stage(&bed).await;
    let letter = Letter::new("t.again", "one", &json!([1_500]));
    assert_eq!(result(&stage, letter, "one").await.as_deref(), Some("3"));
    assert!(deaths(&stage.finish().await[2]).contains("celery_delayed_"));
}

#[celeriac_tests::test]
async fn a_hard_time_limit_ends_an_attempt_for_good(bed: Bed) {
    let stage = stage(&bed).await;
    let letter = Letter::new("t.endless", "one", &json!([])).header("timelimit", &json!([0.5, null]));
    let letter = letter.carrying(&json!([]), &json!({"errbacks": [{"task": "t.see"}]}));
    letter.put(&stage.peer).await;
    assert_eq!(
        stage.end("one").await,
        (TaskState::Failure, Some(Failure::new("TimeLimitExceeded", "").with_args(vec![0.5.into()])))
    );
    assert_eq!(stage.row("one").await.attempts, 1);
    stage.seen(2).await;
    let calls = stage.finish().await;
    assert_eq!((calls.len(), &calls[1].given.0), (2, &json!("one")), "one attempt, one errback");
}

#[celeriac_tests::test]
async fn a_soft_time_limit_tells_the_task_which_may_end_as_it_likes(bed: Bed) {
    let stage = stage(&bed).await;
    let limited = |task, id, limits: &Json| Letter::new(task, id, &json!([])).header("timelimit", limits);
    limited("t.obedient", "async", &json!([30, 0.3])).put(&stage.peer).await;
    assert_outcome!(stage.row("async").await, Success, result: true);
    limited("t.blocking", "blocking", &json!([30, 0.3])).put(&stage.peer).await;
    assert_outcome!(stage.row("blocking").await, Success, result: json!([30.0, 0.3]));
    // A blocking task is only signalled.
    limited("t.blocking", "blocking, hard", &json!([0.3, null])).put(&stage.peer).await;
    assert_outcome!(stage.row("blocking, hard").await, Success, result: json!([0.3, null]));
    stage.finish().await;
}
