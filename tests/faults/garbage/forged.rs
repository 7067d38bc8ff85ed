//! Headers of this framework that a sender has set.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::tasks;
use celeriac_protocol::headers::names;
use celeriac_tests::Bed;
use celeriac_tests::wait::{PATIENCE, eventually};
use lapin::types::{AMQPValue, FieldArray, FieldTable};

use super::{properties, text};
use crate::ledger::note;

const NAMES: [&str; 15] = [
    names::DEAD_REASON,
    names::DEAD_ERROR,
    names::DEAD_QUEUE,
    names::DEAD_EXCHANGE,
    names::DEAD_ROUTING_KEY,
    names::DEAD_AT,
    names::DEAD_WORKER,
    names::REPEATED,
    names::SUSPECTED,
    names::REPLAYED,
    names::UNREADABLE,
    names::RETRY_UNTIL,
    names::ROUNDS,
    names::BROADCAST,
    "celeriac-surprise",
];

/// Values of wrong types, and extreme ones.
fn values() -> Vec<AMQPValue> {
    vec![
        AMQPValue::Void,
        AMQPValue::Boolean(true),
        AMQPValue::LongInt(-1),
        AMQPValue::LongUInt(u32::MAX),
        AMQPValue::LongLongInt(i64::MIN),
        AMQPValue::LongLongInt(i64::MAX),
        AMQPValue::Timestamp(u64::MAX),
        AMQPValue::Double(f64::MAX),
        AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Void])),
        AMQPValue::FieldTable(FieldTable::default()),
        text(""),
        text("9999-12-31T23:59:59Z"),
        text(&"x".repeat(10_000)),
    ]
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_sender_that_sets_headers_of_the_framework_stops_no_worker(bed: Bed) {
    let running = bed.worker(tasks![note]).await;
    let peer = bed.peer().await;
    note(0).submit(&running.client).await.unwrap().get().await.unwrap();
    let mut ids = Vec::new();
    for name in NAMES {
        for value in values() {
            let id = format!("forged-{}", ids.len());
            let headers = [("task", text("test.note")), ("id", text(&id)), (name, value)];
            peer.put("celeriac", properties(&headers, Some("application/json")), b"[[1],{},{}]").await;
            ids.push((id, name));
        }
    }
    for (id, name) in &ids {
        let row = running.client.handle::<u64>(id.as_str()).wait_timeout(PATIENCE).await;
        let row = row.unwrap_or_else(|error| panic!("{id}, {name}: {error}"));
        let expected = if *name == names::UNREADABLE { TaskState::Rejected } else { TaskState::Success };
        assert_eq!(row.state, expected, "{id}, {name}");
    }
    running.stop().await;
    assert_eq!(peer.ready("celeriac").await, 0);
    let dead = u32::try_from(ids.iter().filter(|(_, name)| *name == names::UNREADABLE).count()).unwrap();
    assert_eq!(peer.ready("celeriac.dead").await, dead);
}

#[celeriac_tests::test(real)]
async fn a_dead_letter_is_replayed_whatever_number_of_replays_its_sender_wrote(bed: Bed) {
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("there");
    let client = bed.client(bed.program([])).await;
    let mut worker = bed.process(&["worker", "-l", "info"]);
    worker.says("worker ready").await;
    let peer = bed.peer().await;
    let mut ids = Vec::new();
    for value in values() {
        let id = format!("replayed-{}", ids.len());
        let headers = [("task", text("test.need")), ("id", text(&id)), (names::REPLAYED, value)];
        let body = serde_json::json!([[path], {}, {}]).to_string();
        peer.put("celeriac", properties(&headers, Some("application/json")), body.as_bytes()).await;
        ids.push(id);
    }
    let count = u32::try_from(ids.len()).unwrap();
    let dead = async || peer.ready("celeriac.dead").await;
    eventually("all have failed", dead, |dead| *dead == count).await;
    std::fs::write(&path, "").unwrap();
    let mut replay = bed.process(&["dead", "replay", "--yes"]);
    assert_eq!(replay.exit_code(Duration::from_secs(60)).await, 0, "{}", replay.output());
    for id in &ids {
        let state = async || client.handle::<String>(id.as_str()).status().await.unwrap();
        eventually(id, state, |state| *state == TaskState::Success).await;
    }
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    assert_eq!((peer.ready("celeriac").await, peer.ready("celeriac.dead").await), (0, 0));
}
