//! Every dead letter has its reason, from a worker or from the broker.

use std::collections::BTreeMap;

use celeriac_tests::Bed;
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::json;

use crate::dead::Console;

fn properties(task: &str, id: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in [("task", task), ("id", id)] {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    BasicProperties::default().with_headers(headers).with_content_type("application/json".into()).with_delivery_mode(2)
}

impl Console {
    /// Takes the next message, and rejects or requeues it.
    async fn refuse(&self, queue: &str, requeue: bool) -> bool {
        let channel = self.peer.channel();
        let Some(found) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() else {
            return false;
        };
        let nack = BasicNackOptions { multiple: false, requeue };
        channel.basic_nack(found.delivery.delivery_tag, nack).await.unwrap();
        true
    }
}

#[celeriac_tests::test(real)]
async fn dead_letters_of_the_broker_and_of_workers_are_told_by_their_reasons_and_replayed_to_their_queues(bed: Bed) {
    let console = Console::new(&bed, "queues: { celeriac: {}, slow: {}, poison: { delivery_limit: 1 } }").await;
    let body = b"[[7],{},{}]";
    console.peer.put("slow", properties("test.note", "late").with_expiration("1".into()), body).await;
    console.dead("slow", 1).await;
    console.peer.put("slow", properties("test.note", "unwanted"), body).await;
    while !console.refuse("slow", false).await {}
    console.dead("slow", 2).await;
    console.peer.put("poison", properties("test.note", "poison"), body).await;
    while console.peer.ready("poison.dead").await == 0 {
        console.refuse("poison", true).await;
    }
    let mut worker = console.worker();
    worker.says("ready").await;
    console.peer.put("celeriac", properties("test.nothing", "unknown"), body).await;
    console.peer.put("celeriac", properties("test.note", "wrong"), b"[[\"x\"],{},{}]").await;
    console.peer.put("celeriac", properties("test.note", "garbage"), b"{{{").await;
    console.peer.put("celeriac", BasicProperties::default(), b"hello").await;
    console.dead("celeriac", 4).await;

    let listed = console.json(&["dead", "list"]).await;
    let told: BTreeMap<_, _> = listed["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| (letter["id"].as_str().unwrap_or("-"), (&letter["reason"], &letter["queue"])))
        .collect();
    let expected = [
        ("-", "unreadable", "celeriac"),
        ("garbage", "unreadable", "celeriac"),
        ("late", "expired", "slow"),
        ("poison", "delivery_limit", "poison"),
        ("unknown", "unknown-task", "celeriac"),
        ("unwanted", "rejected", "slow"),
        ("wrong", "wrong-arguments", "celeriac"),
    ];
    let expected = expected.map(|(id, reason, queue)| (id, (json!(reason), json!(queue))));
    assert_eq!(told, expected.iter().map(|(id, (reason, queue))| (*id, (reason, queue))).collect());
    let (code, said) = console.run(&["dead", "list"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("(unreadable)[no id] header `task` is missing"), "{said}");
    let shown = console.json(&["dead", "show", "garbage"]).await;
    assert_eq!(shown["body"], json!("{{{"));
    assert!(shown["letter"]["at"].is_string(), "{shown}");
    let shown = console.json(&["dead", "show", "late"]).await;
    assert!(shown["letter"]["at"].is_string() && shown["headers"]["x-death"].is_array(), "{shown}");

    let (code, said) = console.run(&["dead", "replay", "-y", "-Q", "slow,poison"]).await;
    assert_eq!((code, said.as_str()), (0, "3 replayed, 0 left"));
    for id in ["late", "unwanted", "poison"] {
        let (code, said) = console.run(&["result", id, "--wait", "30s"]).await;
        assert_eq!(code, 0, "{said}");
    }
    worker.signal("TERM");
    assert_eq!(worker.exit_code(std::time::Duration::from_secs(20)).await, 0);
}

#[celeriac_tests::test(real)]
async fn a_task_that_has_expired_expires_again_unless_its_time_is_dropped(bed: Bed) {
    let console = Console::new(&bed, "").await;
    let mut past = properties("test.note", "late");
    let mut headers = past.headers().clone().unwrap_or_default();
    headers.insert("expires".into(), AMQPValue::LongString("2026-01-01T00:00:00+00:00".into()));
    past = past.with_headers(headers);
    console.peer.put("celeriac.dead", past, b"[[7],{},{}]").await;
    console.dead("celeriac", 1).await;
    let (code, said) = console.run(&["dead", "replay", "--dry-run"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 have expired, and expire again unless --drop-expires"), "{said}");
    let (code, said) = console.run(&["dead", "replay", "--id", "late", "--drop-expires"]).await;
    assert_eq!((code, said.as_str()), (0, "1 replayed, 0 left"));
    let back = console.peer.take_all("celeriac").await;
    assert!(!back[0].headers.inner().contains_key("expires"), "{back:?}");
}
