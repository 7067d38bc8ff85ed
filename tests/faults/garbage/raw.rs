//! Messages that lapin cannot parse: nested without an end, not UTF-8, larger than a frame.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::tasks;
use celeriac_tests::wait::{PATIENCE, eventually};
use celeriac_tests::wire::{FRAME_MAX, Properties, Property, Wire, long, nested_header, short, text_header};
use celeriac_tests::{Bed, Peer, Program};
use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::json;

use crate::ledger::note;

const BODY: &[u8] = b"[[1],{},{}]";

/// The queue that passes its messages on at once, with what RabbitMQ adds to a dead letter.
const GROWS: &str = "grows";

/// A message that is not readable as it is, and the part of it that its dead letter names.
struct Raw {
    names: String,
    exchange: &'static str,
    routing_key: Vec<u8>,
    properties: Properties,
}

impl Raw {
    fn of(number: usize, names: impl Into<String>, more: &[u8]) -> Self {
        let own = [text_header(b"task", b"test.note"), text_header(b"id", format!("raw-{number}").as_bytes())].concat();
        let properties = Properties::from([
            (Property::ContentType, short(b"application/json")),
            (Property::Headers, long(&[&own, more].concat())),
            (Property::DeliveryMode, vec![2]),
        ]);
        Self { names: names.into(), exchange: "", routing_key: b"celeriac".to_vec(), properties }
    }
}

/// The size of headers that fill a frame, beside the properties of a [`Raw`].
const FULL: usize = FRAME_MAX - 120;

fn all() -> Vec<Raw> {
    const LATIN: &[u8] = b"caf\xe9";
    let headers: [(&str, Vec<u8>); 7] = [
        ("header `deep` is nested more than 64 levels", nested_header(b"deep", 20_000, false)),
        ("header `deep` is nested more than 64 levels", nested_header(b"deep", 15_000, true)),
        ("header `deep` is nested more than 64 levels", nested_header(b"deep", 65, false)),
        ("name of a header is not UTF-8: `caf?`", text_header(LATIN, b"x")),
        (
            "name in header `inner` is not UTF-8: `caf?`",
            [&short(b"inner"), &b"F"[..], &long(&text_header(LATIN, b"x"))].concat(),
        ),
        (
            "header `mixed` is nested more than 64 levels",
            [text_header(b"before", b"x"), nested_header(b"mixed", 1_000, true), text_header(b"z", LATIN)].concat(),
        ),
        ("header `pad` is too large", text_header(b"pad", &vec![b'x'; FULL])),
    ];
    let mut all: Vec<_> =
        headers.into_iter().enumerate().map(|(number, (names, more))| Raw::of(number, names, &more)).collect();
    if let Some(large) = all.last_mut() {
        large.routing_key = GROWS.into();
    }
    for (name, property) in [
        ("content_type", Property::ContentType),
        ("content_encoding", Property::ContentEncoding),
        ("correlation_id", Property::CorrelationId),
        ("reply_to", Property::ReplyTo),
        ("message_id", Property::MessageId),
        ("type", Property::Type),
        ("app_id", Property::AppId),
        ("cluster_id", Property::ClusterId),
    ] {
        let mut raw = Raw::of(all.len(), format!("property {name} is not UTF-8: `caf?`"), b"");
        raw.properties.insert(property, short(LATIN));
        all.push(raw);
    }
    let key = Raw::of(all.len(), "routing key is not UTF-8: `caf?`", b"");
    all.push(Raw { exchange: "amq.fanout", routing_key: LATIN.to_vec(), ..key });
    all
}

/// Declares what brings the messages to the queue of the worker.
async fn declare(peer: &Peer) {
    let bind = QueueBindOptions::default();
    let none = FieldTable::default();
    peer.channel().queue_bind("celeriac".into(), "amq.fanout".into(), "".into(), bind, none).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(1));
    for (name, value) in [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "celeriac")] {
        arguments.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    peer.channel().queue_declare(GROWS.into(), options, arguments).await.unwrap();
}

async fn stop(mut worker: Program) {
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn what_lapin_cannot_parse_is_dead_lettered_from_a_quorum_queue(bed: Bed) {
    all_are_dead_lettered(&bed, "quorum").await;
}

#[celeriac_tests::test(real)]
async fn what_lapin_cannot_parse_is_dead_lettered_from_a_classic_queue(bed: Bed) {
    all_are_dead_lettered(&bed, "classic").await;
}

async fn all_are_dead_lettered(bed: &Bed, kind: &str) {
    let variables = [("CELERIAC__QUEUES__CELERIAC__TYPE", kind.to_owned())];
    let mut worker = bed.process_with(&["worker", "-l", "info"], &variables);
    worker.says("worker ready").await;
    let client = bed.client(bed.program(tasks![note]).set("queues.celeriac.type", kind)).await;
    let peer = bed.peer().await;
    declare(&peer).await;
    let mut wire = Wire::connect(&bed.amqp_url()).await;
    let messages = all();
    let mut good = Vec::new();
    for raw in &messages {
        good.push(note(1).submit(&client).await.unwrap());
        wire.put(raw.exchange, &raw.routing_key, &raw.properties, BODY).await;
    }
    let deepest = Raw::of(999, "", &nested_header(b"deep", 64, false));
    wire.put("", b"celeriac", &deepest.properties, BODY).await;
    good.push(client.handle("raw-999"));

    for handle in good {
        let ended = async || {
            assert!(worker.is_running(), "{}", worker.output());
            handle.ready().await.unwrap()
        };
        eventually("good tasks run", ended, |ended| *ended).await;
    }
    let expected = u32::try_from(messages.len()).unwrap();
    let dead = async || {
        assert!(worker.is_running(), "{}", worker.output());
        peer.ready("celeriac.dead").await
    };
    eventually("all are dead-lettered", dead, |dead| *dead == expected).await;
    stop(worker).await;
    assert_eq!(peer.ready("celeriac").await, 0);
    let letters = peer.take_all("celeriac.dead").await;
    for (number, raw) in messages.iter().enumerate() {
        let id = format!("raw-{number}");
        let letter = letters.iter().find(|letter| letter.header("id").as_deref() == Some(&id));
        let letter = letter.unwrap_or_else(|| panic!("{}: not dead-lettered", raw.names));
        assert_eq!(letter.header("celeriac-dead-reason").as_deref(), Some("unreadable"), "{}", raw.names);
        let error = letter.header("celeriac-dead-error").unwrap();
        assert!(error.contains(&raw.names), "{}: {error}", raw.names);
        assert_eq!((letter.body.as_slice(), letter.header("task").as_deref()), (BODY, Some("test.note")));
        let row = client.handle::<u64>(id.as_str()).wait_timeout(PATIENCE).await.unwrap();
        assert_eq!(row.state, TaskState::Rejected, "{}", raw.names);
    }
    let mixed = letters.iter().find(|letter| letter.has_header("mixed")).unwrap();
    assert!(mixed.has_header("before") && mixed.has_header("z"), "the readable headers are kept");
}

#[celeriac_tests::test(real)]
async fn operators_list_show_replay_and_purge_what_lapin_cannot_parse(bed: Bed) {
    let run = async |arguments: &[&str]| {
        let mut program = bed.process(arguments);
        let code = program.exit_code(Duration::from_secs(60)).await;
        let said = program.rest().await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
        said
    };
    run(&["call", "test.note", "-a", "[0]"]).await;
    let peer = bed.peer().await;
    peer.purge("celeriac").await;
    let mut wire = Wire::connect(&bed.amqp_url()).await;
    let messages: Vec<_> = all().into_iter().filter(|raw| raw.routing_key == b"celeriac").collect();
    let count = u32::try_from(messages.len()).unwrap();
    for raw in &messages {
        wire.put("", b"celeriac.dead", &raw.properties, BODY).await;
    }
    assert!(run(&["dead", "list"]).await.contains(&format!("{count} of {count} dead letters")));
    let shown = run(&["dead", "show", "raw-0"]).await;
    assert!(shown.contains("nested more than 64 levels"), "{shown}");
    run(&["dead", "replay", "--yes", "--to", "celeriac"]).await;

    let mut worker = bed.process(&["worker", "-l", "info"]);
    worker.says("worker ready").await;
    let dead = async || peer.ready("celeriac.dead").await;
    eventually("a replay does not run what was changed", dead, |dead| *dead == count).await;
    stop(worker).await;
    let reasons = run(&["dead", "list"]).await;
    assert!(reasons.contains(&format!("unreadable {count}")), "{reasons}");
    run(&["dead", "purge", "--yes"]).await;
    assert_eq!(peer.ready("celeriac.dead").await, 0);
}

#[celeriac_tests::test(real)]
async fn a_client_gets_its_replies_beside_those_that_lapin_cannot_parse(bed: Bed) {
    let program = bed.program(tasks![note]).set("results.url", "rpc://").set("client.result_timeout", "60s");
    let client = bed.client(program).await;
    let handle = note(1).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let sent = peer.take_all("celeriac").await.remove(0);
    let replies = sent.reply_to.clone().unwrap();
    let mut wire = Wire::connect(&bed.amqp_url()).await;
    for raw in all() {
        wire.put("", replies.as_bytes(), &raw.properties, BODY).await;
    }
    let reply = json!({"status": "SUCCESS", "result": 1, "traceback": null, "children": [], "task_id": handle.id()});
    peer.reply(&sent, &serde_json::to_vec(&reply).unwrap()).await;
    assert_eq!(handle.get().await.unwrap(), 1);
}
