//! Whole messages, from the bytes of their properties: what a worker reads before it runs a task,
//! and what the tools of dead letters read and write.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use celeriac_admin::DeadLetter;
use celeriac_admin::dead::ReplayOptions;
use celeriac_broker::amqp::wire;
use celeriac_fuzz::{Outcome, corpus, fuzz};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Accept, DecodeLimits, Message, TaskHeaders};
use jiff::tz::TimeZone;
use serde_json::Value as Json;

const LIMITS: DecodeLimits = DecodeLimits { size: 64 << 10, depth: 64, values: 1_000_000, accept: Accept::ALL };

/// Recordings of Celery; `tests/interop/record.py` documents them.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../interop/golden");

const DEAD_QUEUE: &str = "mail.dead";

#[test]
fn no_message_makes_a_reader_panic() {
    let mut samples = corpus("messages");
    samples.extend(recordings());
    fuzz("messages", samples, |bytes, _| {
        let Some(message) = wire::read(bytes) else { return Outcome::of(&Err::<(), _>("refused by the library")) };
        let read = read(message.clone());
        read_dead(message.clone());
        republish(&message);
        read
    });
}

#[test]
fn no_content_header_passes_the_filter_that_the_library_refuses() {
    let mut samples = corpus("messages");
    samples.extend(recordings());
    fuzz("frames", samples, |bytes, chance| {
        let body = wire::read(bytes).map_or(0, |message| message.body.len());
        let frame = content_header(&bytes[..bytes.len() - body]);
        let passed = wire::filtered(&frame, frame.len());
        assert_eq!(wire::filtered(&frame, chance.usize(1..=frame.len())), passed);
        let payload = &passed[FRAME_HEAD + BEFORE_PROPERTIES..passed.len() - 1];
        assert!(wire::read(payload).is_some());
        Outcome::of(&if passed == frame { Ok(()) } else { Err("rewritten") })
    });
}

/// Bytes of a frame before its payload, and of a content header before its properties.
const FRAME_HEAD: usize = 7;
const BEFORE_PROPERTIES: usize = 12;

/// Returns a frame with these properties, of a message without a body.
fn content_header(properties: &[u8]) -> Vec<u8> {
    let size = u32::try_from(BEFORE_PROPERTIES + properties.len()).unwrap().to_be_bytes();
    [&[2, 0, 1], &size[..], &[0, 60], &[0; 10], properties, &[0xce]].concat()
}

/// Reads a message as a worker does.
fn read(mut message: Message) -> Outcome {
    let headers = message.read_headers(&LIMITS, || TimeZone::UTC);
    let outcome = Outcome::of(&headers);
    let Ok(headers) = headers else { return outcome };
    let _ = headers.check();
    let _ = (message.headers.replays(), message.headers.retry_until(), message.headers.rounds());
    Outcome::of(&message.read_body(&LIMITS))
}

/// Reads a message as a dead letter, and checks that its replay is a message without a trace of
/// its death.
fn read_dead(message: Message) {
    let letter = DeadLetter::read(&message, DEAD_QUEUE);
    assert_eq!(letter.size, message.body.len());
    let was_task = TaskHeaders::read(&message.headers).is_ok();
    let replay = ReplayOptions { drop_expires: true }.write(message, &letter);
    assert!(
        replay.headers.iter().all(|(name, _)| !name.starts_with(names::DEAD_PREFIX) && !name.starts_with("x-death"))
    );
    if was_task {
        let headers = TaskHeaders::read(&replay.headers);
        assert!(headers.is_ok_and(|headers| headers.retries == 0 && headers.eta.is_none()));
    }
    let again = DeadLetter::read(&replay, DEAD_QUEUE);
    assert_eq!(again.attempts, if was_task { 1 } else { again.attempts });
}

/// Checks that a message stays as it is on its second way through a broker. The first may change
/// numbers that AMQP has no type for.
fn republish(message: &Message) {
    let Ok(once) = wire::delivered(message) else { return };
    let twice = wire::delivered(&once).unwrap();
    assert_eq!(twice, once);
}

/// Returns every recorded message as the bytes of its properties and its body.
fn recordings() -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(GOLDEN).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    assert!(files.len() > 100, "recordings in {GOLDEN}");
    files.iter().map(|path| recording(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())).collect()
}

fn recording(file: &Json) -> Vec<u8> {
    let properties = &file["properties"];
    let mut flags = 0_u16;
    let mut fields = Vec::new();
    // In the order of AMQP, with the bit of each.
    let order = [
        (15, "content_type"),
        (14, "content_encoding"),
        (13, "headers"),
        (12, "delivery_mode"),
        (11, "priority"),
        (10, "correlation_id"),
        (9, "reply_to"),
        (8, "expiration"),
    ];
    for (bit, name) in order {
        let field = match (name, &properties[name]) {
            ("headers", _) => BASE64_STANDARD.decode(file["headers_base64"].as_str().unwrap()).unwrap(),
            (_, Json::String(text)) => [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat(),
            (_, Json::Number(number)) => vec![u8::try_from(number.as_u64().unwrap()).unwrap()],
            _ => continue,
        };
        flags |= 1 << bit;
        fields.extend(field);
    }
    let body = BASE64_STANDARD.decode(file["body_base64"].as_str().unwrap()).unwrap();
    [flags.to_be_bytes().to_vec(), fields, body].concat()
}

#[test]
fn a_recording_is_a_message_of_its_bytes() {
    let read: Vec<_> = recordings().iter().map(|bytes| wire::read(bytes).unwrap()).collect();
    let tasks = read.iter().filter(|message| message.headers.text(names::TASK).is_some()).count();
    assert!(tasks > 100, "{tasks}");
    assert!(read.iter().all(|message| message.properties.content_type.is_some()));
}
