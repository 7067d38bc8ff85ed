//! The headers of a task, with values of every type.

use celeriac_fuzz::{Outcome, fuzz, mutated};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Codec, HeaderMap, Map, TaskHeaders, Value};
use fastrand::Rng;

use crate::bodies::{LIMITS, messagepack};

/// Headers from real peers, and those of Celeriac.
const HEADERS: [(&str, &str); 20] = [
    ("group_index", "0"),
    ("timelimit", "[9, null]"),
    ("stamps", "{}"),
    ("stamped_headers", "[]"),
    ("replaced_task_nesting", "1"),
    ("task", "t.add"),
    ("id", "f233c42b-36e5-447e-8f44-050328f183eb"),
    ("retries", "3"),
    ("eta", "2026-11-20T09:40:17.122093+00:00"),
    ("expires", "2026-11-20T09:41:07"),
    ("root_id", "f233c42b-36e5-447e-8f44-050328f183eb"),
    ("parent_id", "0"),
    ("group", "g"),
    ("ignore_result", "true"),
    (names::RETRY_UNTIL, "2026-11-21T10:00:00Z"),
    (names::REPLAYED, "1"),
    (names::REPEATED, "true"),
    (names::SUSPECTED, "1"),
    (names::ROUNDS, "2"),
    (names::DEAD_AT, "2026-11-21T10:00:00Z"),
];

#[test]
fn no_header_makes_a_reader_panic() {
    fuzz("headers", messagepack(), |bytes, chance| {
        let mut headers = HeaderMap::new();
        for (name, text) in HEADERS {
            if let Some(value) = value(name, text, bytes, chance) {
                headers.insert(name, value);
            }
        }
        let read = TaskHeaders::read(&headers);
        let outcome = Outcome::of(&read);
        if let Ok(read) = read {
            // Times are written in microseconds, so the first writing may change them, and no later
            // one.
            let once = written(read);
            assert_eq!(TaskHeaders::read(&once).map(written), Ok(once));
        }
        if let Some(until) = headers.retry_until() {
            headers.set_retry_until(until);
            assert_eq!(headers.retry_until(), Some(until));
        }
        let _ = (headers.replays(), headers.rounds());
        TaskHeaders::next_attempt(&mut headers, 1, None);
        headers.strip_deaths();
        outcome
    });
}

fn value(name: &str, text: &str, bytes: &[u8], chance: &mut Rng) -> Option<Value> {
    Some(match chance.u8(0..24) {
        0 | 1 => return None,
        2 => Value::from(chance.i64(..)),
        3 => Value::from(chance.bool()),
        4 => Value::Null,
        5 => Value::from(String::from_utf8_lossy(&mutated(text.as_bytes(), b"", chance)).into_owned()),
        6 => Codec::Msgpack.decode_value(bytes, &LIMITS).unwrap_or_default(),
        _ => match name {
            "retries"
            | "group_index"
            | "replaced_task_nesting"
            | names::REPLAYED
            | names::SUSPECTED
            | names::ROUNDS => Value::Int(3),
            "timelimit" => Value::List(vec![Value::Float(chance.f64()), Value::Null]),
            "stamps" => Value::Map(Map::new()),
            "stamped_headers" => Value::List(vec![Value::from("team")]),
            "ignore_result" | names::REPEATED => Value::Bool(true),
            _ => Value::from(text),
        },
    })
}

fn written(headers: TaskHeaders) -> HeaderMap {
    let mut map = HeaderMap::new();
    headers.write(&mut map, None);
    map
}
