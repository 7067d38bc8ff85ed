//! Messages that no worker can read, among valid ones.
//!
//! - `raw`: those that lapin cannot parse;
//! - `forged`: headers of this framework from a sender.

mod forged;
mod raw;

use celeriac::tasks;
use celeriac_protocol::headers::names;
use celeriac_tests::wait::{PATIENCE, eventually};
use celeriac_tests::{Bed, Peer};
use futures::StreamExt;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};
use tokio::time::timeout;

use crate::ledger::note;

/// The fault of a message, and a function that makes it.
struct Garbage {
    what: &'static str,
    reason: &'static str,
    properties: BasicProperties,
    body: Vec<u8>,
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn headers(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn properties(entries: &[(&str, AMQPValue)], content_type: Option<&str>) -> BasicProperties {
    let properties = BasicProperties::default().with_headers(headers(entries)).with_delivery_mode(2);
    match content_type {
        Some(content_type) => properties.with_content_type(content_type.into()),
        None => properties,
    }
}

fn padded(task: &str, id: &str, size: usize) -> BasicProperties {
    let entries = [("task", text(task)), ("id", text(id)), ("pad", text(&"x".repeat(size)))];
    properties(&entries, Some("application/json"))
}

fn many_headers(task: &str, id: &str, count: usize) -> BasicProperties {
    let mut table = headers(&[("task", text(task)), ("id", text(id))]);
    for number in 0..count {
        table.insert(format!("h-{number}").into(), AMQPValue::Boolean(true));
    }
    properties(&[], Some("application/json")).with_headers(table)
}

fn copied(name: &'static str, id: &str, keys: Vec<AMQPValue>) -> BasicProperties {
    let entries = [("task", text("test.nope")), ("id", text(id)), (name, AMQPValue::FieldArray(keys.into()))];
    properties(&entries, Some("application/json"))
}

/// A message with valid arguments for a task that does not exist.
fn unknown(what: &'static str) -> Garbage {
    Garbage { what, reason: "unknown-task", properties: BasicProperties::default(), body: b"[[1],{},{}]".to_vec() }
}

fn all() -> Vec<Garbage> {
    let json = Some("application/json");
    let task = |id: &'static str| vec![("task", text("test.note")), ("id", text(id))];
    let with = |id, more: &[(&'static str, AMQPValue)]| [task(id), more.to_vec()].concat();
    let body = |what, id, content: &[u8]| Garbage {
        what,
        reason: "unreadable",
        properties: properties(&task(id), json),
        body: content.to_vec(),
    };
    let head = |what, entries: Vec<(&str, AMQPValue)>| Garbage {
        what,
        reason: "unreadable",
        properties: properties(&entries, json),
        body: b"[[1],{},{}]".to_vec(),
    };
    let kind = |what, id, content_type: Option<&str>| Garbage {
        what,
        reason: "unreadable",
        properties: properties(&task(id), content_type),
        body: b"[[1],{},{}]".to_vec(),
    };
    let encoded = |what, id, encoding: &str| Garbage {
        properties: properties(&task(id), json).with_content_encoding(encoding.into()),
        ..kind(what, id, json)
    };
    let arguments = |what, id, content: &[u8]| Garbage { reason: "wrong-arguments", ..body(what, id, content) };
    vec![
        body("empty body", "g-empty", b""),
        body("not JSON", "g-json", b"{\"oops"),
        body("not UTF-8", "g-utf8", &[0xff, 0xfe, 0x00]),
        body("null", "g-null", b"null"),
        body("a number", "g-number", b"42"),
        body("an object", "g-object", b"{\"a\":1}"),
        body("a list of one", "g-one", b"[1]"),
        body("a list of two", "g-two", b"[[1],{}]"),
        body("arguments that are an object", "g-args", b"[{},{},{}]"),
        body("named arguments that are a list", "g-kwargs", b"[[1],[],{}]"),
        body("embedded text", "g-embed", b"[[1],{},\"x\"]"),
        body("something after the end", "g-tail", b"[[1],{},{}] []"),
        body("10 MB", "g-large", &[b"[[\"".to_vec(), vec![b'x'; 10_000_000], b"\"],{},{}]".to_vec()].concat()),
        body("nested 100,000 deep", "g-deep", &[vec![b'['; 100_000], vec![b']'; 100_000]].concat()),
        head("no headers", vec![]),
        head("no id", vec![("task", text("test.note"))]),
        head("an empty id", vec![("task", text("test.note")), ("id", text(""))]),
        head(
            "a task that is a list",
            vec![("task", AMQPValue::FieldArray(FieldArray::default())), ("id", text("g-list"))],
        ),
        head("a task that is nothing", vec![("task", AMQPValue::Void), ("id", text("g-void"))]),
        head("an id that is a number", vec![("task", text("test.note")), ("id", AMQPValue::LongInt(7))]),
        head("an id of 300 bytes", vec![("task", text("test.note")), ("id", text(&"i".repeat(300)))]),
        head("an eta that is no time", with("g-eta", &[("eta", text("soon"))])),
        head("an expiry that is a number", with("g-expires", &[("expires", AMQPValue::Double(1.5))])),
        head("retries below zero", with("g-retries", &[("retries", AMQPValue::LongInt(-3))])),
        head("retries that are text", with("g-many", &[("retries", text("many"))])),
        kind("no content type", "g-none", None),
        kind("pickle", "g-pickle", Some("application/x-python-serialize")),
        kind("an unknown content type", "g-unknown", Some("application/x-surprise")),
        encoded("a character set that nobody knows", "g-klingon", "x-klingon"),
        encoded("a character set that is not read", "g-utf16", "utf-16"),
        kind("JSON that says it is MessagePack", "g-msgpack", Some("application/x-msgpack")),
        Garbage {
            what: "an unknown task",
            reason: "unknown-task",
            properties: properties(&[("task", text("test.nope")), ("id", text("g-task"))], json),
            body: b"[[1],{},{}]".to_vec(),
        },
        Garbage {
            what: "an unknown task with 60 KB of headers",
            reason: "unknown-task",
            properties: padded("test.nope", "g-headers", 60_000),
            body: b"[[1],{},{}]".to_vec(),
        },
        Garbage { properties: many_headers("test.nope", "g-many-headers", 2_000), ..unknown("2,000 headers") },
        Garbage { properties: padded("test.nope", "g-33", 33_000), ..unknown("an unknown task with 33 KB of headers") },
        Garbage {
            properties: copied(names::CC, "g-cc", vec![AMQPValue::LongInt(1), AMQPValue::Void]),
            ..unknown("CC of numbers")
        },
        Garbage {
            properties: copied(names::BCC, "g-bcc", vec![AMQPValue::FieldTable(FieldTable::default())]),
            ..unknown("BCC of tables")
        },
        arguments("no argument", "g-missing", b"[[],{},{}]"),
        arguments("two arguments for one", "g-more", b"[[1,2],{},{}]"),
        arguments("an argument of another type", "g-type", b"[[\"one\"],{},{}]"),
        arguments("an argument of another name", "g-name", b"[[],{\"nmuber\":1},{}]"),
    ]
}

#[celeriac_tests::test(real, threads = 2)]
async fn garbage_is_dead_lettered_with_a_reason_and_good_tasks_run(bed: Bed) {
    let client = bed.client(bed.program(tasks![note])).await;
    let peer = bed.peer().await;
    let garbage = all();
    let good = interleave(&client, &peer, &garbage).await;

    let running = bed.worker(tasks![note]).await;
    for handle in &good {
        let handle = running.client.handle::<u64>(handle.as_str());
        handle.get().await.unwrap();
    }
    let expected = u32::try_from(garbage.len()).unwrap();
    eventually("all garbage is dead-lettered", async || peer.ready("celeriac.dead").await, |dead| *dead >= expected)
        .await;
    running.stop().await;
    assert_eq!(peer.ready("celeriac").await, 0, "nothing is left");

    let dead = peer.take_all("celeriac.dead").await;
    assert_eq!(dead.len(), garbage.len());
    println!("{:<36} {:<16} error", "garbage", "reason");
    for Garbage { what, reason, body, properties } in &garbage {
        let sent = properties.headers().clone().unwrap_or_default();
        let same = |found: &&celeriac_tests::peer::Found| {
            found.body == *body
                && sent
                    .inner()
                    .iter()
                    .all(|(name, value)| is_copy(name) || found.headers.inner().get(name) == Some(value))
        };
        let found =
            dead.iter().find(same).unwrap_or_else(|| panic!("{what}: not in the dead-letter queue as it was sent"));
        let error = found.header("celeriac-dead-error").unwrap_or_else(|| panic!("{what}: no error"));
        println!("{what:<36} {:<16} {error}", found.header("celeriac-dead-reason").unwrap_or_default());
        assert_eq!(found.header("celeriac-dead-reason").as_deref(), Some(*reason), "{what}");
        assert_eq!(found.header("celeriac-dead-queue").as_deref(), Some("celeriac"), "{what}");
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_task_with_more_headers_than_anybody_needs_runs_and_so_do_its_neighbours(bed: Bed) {
    let running = bed.worker(tasks![note]).await;
    let peer = bed.peer().await;
    let mut handles = Vec::new();
    for (round, size) in [10_000, 33_000, 60_000, 120_000].into_iter().enumerate() {
        let good: Vec<_> = running.client.submit_many((0..20).map(note)).await;
        handles.extend(good.into_iter().map(|handle| handle.unwrap().id().to_owned()));
        let id = format!("padded-{round}");
        peer.put("celeriac", padded("test.note", &id, size), b"[[1],{},{}]").await;
        handles.push(id);
    }
    peer.put("celeriac", many_headers("test.note", "many", 2_000), b"[[1],{},{}]").await;
    handles.push("many".to_owned());
    for id in handles {
        let handle = running.client.handle::<u64>(&id);
        let ended = timeout(PATIENCE, handle.get()).await;
        ended.unwrap_or_else(|_| panic!("{id} has not run")).unwrap_or_else(|error| panic!("{id}: {error}"));
    }
}

/// Returns `true` for a header that requests copies. A message that is published again has none.
fn is_copy(name: &ShortString) -> bool {
    [names::CC, names::BCC].contains(&name.as_str())
}

#[celeriac_tests::test(real)]
async fn a_message_with_more_headers_than_can_be_published_is_dead_lettered_without_the_largest(bed: Bed) {
    let running = bed.worker(tasks![note]).await;
    let peer = bed.peer().await;
    note(0).submit(&running.client).await.unwrap().get().await.unwrap();
    for (id, size) in [("g-100", 100_000), ("g-128", 128_000)] {
        peer.put("celeriac", padded("test.nope", id, size), b"[[1],{},{}]").await;
        let mut dead = Vec::new();
        let found = async || {
            dead.extend(peer.take_all("celeriac.dead").await);
            dead.len()
        };
        eventually("a dead letter", found, |found| *found == 1).await;
        assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("unknown-task"));
        assert_eq!((dead[0].header("id").as_deref(), dead[0].has_header("pad")), (Some(id), false));
        let missing = dead[0].header("celeriac-unreadable").unwrap();
        assert!(missing.starts_with("header `pad` is too large and was left out"), "{missing}");
    }
}

/// Sends valid tasks before, between and after the invalid messages. Returns their ids.
async fn interleave(client: &celeriac::Client, peer: &Peer, garbage: &[Garbage]) -> Vec<String> {
    let mut good = Vec::new();
    for garbage in garbage {
        let mut submitted = std::pin::pin!(client.submit_stream((0..5).map(note)));
        while let Some(handle) = submitted.next().await {
            good.push(handle.unwrap().id().to_owned());
        }
        peer.put("celeriac", garbage.properties.clone(), &garbage.body).await;
    }
    good
}
