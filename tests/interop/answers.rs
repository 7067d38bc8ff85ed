//! The raw replies of a Python worker and of a Rust worker to the same message.

use celeriac::protocol::Codec;
use celeriac_tests::{Bed, Peer, eventually};
use serde_json::{Value as Json, json};

use crate::sides::{Call, Side, Sides};

/// Returns a case of this worker: its task, with what follows from it.
fn call(case: &str, side: Side) -> Call {
    let task = |name: &str| side.task(name);
    let add = || Call::new(task("add"), [json!(1), json!(2)]);
    let next = |number: i64| json!({"task": task("add"), "args": [number]});
    match case {
        "success" => add(),
        "failure" => Call::new(task("fail"), [json!("ValueError"), json!("no")]),
        "retry without a cause" => Call::new(task("given_up"), []),
        "hard time limit" => Call::new(task("rest"), [json!(20)]).option("time_limit", 1),
        "expired" => add().option("expires", json!({"$datetime": "2020-01-01T00:00:00+00:00"})),
        "one link" => add().option("link", next(3)),
        "two links" => add().option("link", json!([next(3), next(4)])),
        "a linked chain" => add().option("link", json!({"chain": [next(3), next(4)]})),
        "a linked group" => add().option("link", json!({"group": [next(3), next(4)]})),
        "a group with a chain" => {
            add().option("link", json!({"group": [next(3), {"chain": [next(4), next(5)]}, {"group": [next(6)]}]}))
        }
        "a group beside two links" => add().option("link", json!([next(3), {"group": [next(4)]}, next(5)])),
        "errback" => {
            let errback = json!({"task": task("on_error"), "args": ["told"]});
            Call::new(task("fail"), [json!("KeyError"), json!("k")]).option("link_error", errback)
        }
        other => panic!("no case {other}"),
    }
}

const CASES: [&str; 12] = [
    "success",
    "failure",
    "retry without a cause",
    "hard time limit",
    "expired",
    "one link",
    "two links",
    "a linked chain",
    "a linked group",
    "a group with a chain",
    "a group beside two links",
    "errback",
];

/// The cases in which the workers differ, and the reply and the key in which they do.
const DIFFERENT: [&str; 1] = [
    // Celery's text names the task and its arguments; here it is the reason that the task gave.
    "retry without a cause, reply 2: exc_message",
];

#[celeriac_tests::test(real)]
async fn both_workers_reply_alike(bed: Bed) {
    let mut sides = Sides::start(&bed, Codec::Json).await;
    let peer = bed.peer().await;
    let mut different = Vec::new();
    for case in CASES {
        let pythons = replies(&mut sides, &peer, case, Side::Python).await;
        let ours = replies(&mut sides, &peer, case, Side::Rust).await;
        println!("{case}: {}", json!(ours));
        assert_eq!(ours.len(), pythons.len(), "{case}: {ours:?} and {pythons:?}");
        for (number, (ours, pythons)) in ours.iter().zip(&pythons).enumerate() {
            let keys = ours.as_object().unwrap().keys().chain(pythons.as_object().unwrap().keys());
            let mut keys: Vec<_> = keys.filter(|key| ours.get(key) != pythons.get(key)).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                println!("  {key}: {} here, {} there", ours[key], pythons[key]);
                different.push(format!("{case}, reply {}: {key}", number + 1));
            }
        }
    }
    assert_eq!(different, DIFFERENT);
    sides.stop().await;
}

/// Returns all replies to a message, with a name in place of each id.
async fn replies(sides: &mut Sides, peer: &Peer, case: &str, side: Side) -> Vec<Json> {
    let queue = format!("replies to {case} by {side:?}");
    peer.declare(&queue).await;
    let id = sides.send(Side::Python, &call(case, side).option("reply_to", queue.as_str())).await;
    let mut replies = Vec::new();
    let mut taken = Vec::new();
    while !taken.iter().any(is_last) {
        let found = eventually(&queue, async || peer.take_all(&queue).await, |found| !found.is_empty()).await;
        taken.extend(found.iter().map(|found| serde_json::from_slice::<Json>(&found.body).unwrap()));
    }
    for reply in taken {
        let reply = normal(reply, &id);
        // Celery replies twice after a hard time limit.
        if replies.last() != Some(&reply) {
            replies.push(reply);
        }
    }
    replies
}

fn is_last(reply: &Json) -> bool {
    ["SUCCESS", "FAILURE", "REVOKED"].map(Json::from).contains(&reply["status"])
}

/// Returns a reply in which all that must differ has a name.
fn normal(mut reply: Json, id: &str) -> Json {
    if reply["date_done"].is_string() {
        reply["date_done"] = json!("a time");
    }
    // Rust has none.
    assert!(reply.as_object_mut().unwrap().remove("traceback").is_some());
    if let Json::Object(exception) = reply["result"].clone() {
        reply["result"] = Json::Null;
        reply.as_object_mut().unwrap().extend(exception);
    }
    let mut ids = vec![id.to_owned()];
    name_ids(&mut reply, &mut ids);
    reply
}

fn name_ids(value: &mut Json, ids: &mut Vec<String>) {
    match value {
        Json::String(text) if uuid::Uuid::try_parse(text).is_ok() => {
            let position = ids.iter().position(|known| known == text).unwrap_or_else(|| {
                ids.push(text.clone());
                ids.len() - 1
            });
            *text = format!("id {position}");
        }
        Json::Array(items) => items.iter_mut().for_each(|item| name_ids(item, ids)),
        Json::Object(entries) => entries.values_mut().for_each(|item| name_ids(item, ids)),
        _ => {}
    }
}
