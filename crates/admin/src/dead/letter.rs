//! A dead letter as a value.

use celeriac_protocol::headers::names;
use celeriac_protocol::{DecodeLimits, HeaderMap, Message, TaskHeaders, Value};
use celeriac_topology::{dead_letter_queue, strip_delay_prefix};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Reason of a message without one, such as a message that somebody published there.
pub const UNKNOWN: &str = "unknown";

/// The reasons that workers and RabbitMQ write, and [`UNKNOWN`]. Another program may write others.
pub const REASONS: &[&str] = &[
    "exhausted",
    "rejected",
    "unrecordable",
    "unsendable",
    "unknown-task",
    "wrong-arguments",
    "unsupported",
    "unreadable",
    "poison",
    "panicked",
    "over-limit",
    "not-allowed",
    "id-reused",
    names::NOT_FOLLOWED_UP,
    "expired",
    "delivery_limit",
    "maxlen",
    UNKNOWN,
];

/// A message in a dead-letter queue. Fields come from its headers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Dead-letter queue.
    pub dead_queue: String,
    /// Original queue, where a replay sends it. Empty if unknown.
    pub queue: String,
    /// Reason, as one word: of a worker (`exhausted`, `rejected`, `unknown-task`, …) or of the
    /// broker (`expired`, `delivery_limit`, `rejected`, `maxlen`).
    pub reason: String,
    /// Error message. The broker sets none.
    pub error: Option<String>,
    /// Task name, if readable.
    pub task: Option<String>,
    /// Task id, if readable.
    pub id: Option<String>,
    /// Exchange that it was published to.
    pub exchange: String,
    /// Routing key that it was published with.
    pub routing_key: String,
    /// Time of the dead-lettering.
    pub at: Option<Timestamp>,
    /// Worker that dead-lettered it.
    pub worker: Option<String>,
    /// Attempts, from the headers.
    pub attempts: u32,
    /// Number of earlier replays.
    pub replays: u32,
    /// Expiry: it does not start after this time.
    pub expires: Option<Timestamp>,
    /// Size of the body in bytes.
    pub size: usize,
}

impl DeadLetter {
    /// Reads a message of `dead_queue`. Unreadable fields are left out.
    pub fn read(message: &Message, dead_queue: &str) -> Self {
        let (task, id, retries, expires) = identity(message);
        let letter = Self {
            dead_queue: dead_queue.to_owned(),
            queue: origin_by_name(dead_queue),
            reason: UNKNOWN.to_owned(),
            error: None,
            task,
            id,
            exchange: String::new(),
            routing_key: String::new(),
            at: None,
            worker: None,
            attempts: retries.saturating_add(1),
            replays: message.headers.replays(),
            expires,
            size: message.body.len(),
        };
        // A worker removes the broker's headers before it writes its own. If both exist, the
        // broker's are newer.
        match latest_death(&message.headers) {
            Some(death) => letter.with_death_by_the_broker(death),
            None => letter.with_headers_of_a_worker(&message.headers),
        }
    }

    fn with_headers_of_a_worker(self, headers: &HeaderMap) -> Self {
        let text = |name| headers.text(name).map(str::to_owned);
        Self {
            queue: text(names::DEAD_QUEUE).unwrap_or(self.queue),
            reason: text(names::DEAD_REASON).unwrap_or(self.reason),
            error: text(names::DEAD_ERROR),
            exchange: text(names::DEAD_EXCHANGE).unwrap_or_default(),
            routing_key: text(names::DEAD_ROUTING_KEY).unwrap_or_default(),
            at: headers.text(names::DEAD_AT).and_then(|at| at.parse().ok()),
            worker: text(names::DEAD_WORKER),
            ..self
        }
    }

    fn with_death_by_the_broker(self, death: &Value) -> Self {
        let text = |field| field_of(death, field).and_then(Value::as_str).map(str::to_owned);
        let routing_key = match field_of(death, "routing-keys") {
            Some(Value::List(keys)) => keys.first().and_then(Value::as_str),
            _ => None,
        };
        let seconds = field_of(death, "time").and_then(Value::as_i64);
        Self {
            queue: text("queue").unwrap_or(self.queue),
            reason: text("reason").unwrap_or(self.reason),
            exchange: text("exchange").unwrap_or_default(),
            routing_key: routing_key.map(|key| strip_delay_prefix(key).to_owned()).unwrap_or_default(),
            at: seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()),
            ..self
        }
    }
}

/// Returns the latest entry of `x-death`. The entries behind it include each delay level that the
/// message went through.
fn latest_death(headers: &HeaderMap) -> Option<&Value> {
    match headers.get("x-death") {
        Some(Value::List(deaths)) => deaths.first(),
        _ => None,
    }
}

fn field_of<'a>(death: &'a Value, field: &str) -> Option<&'a Value> {
    match death {
        Value::Map(death) => death.get(field),
        _ => None,
    }
}

fn origin_by_name(dead_queue: &str) -> String {
    dead_queue.strip_suffix(&dead_letter_queue("")).unwrap_or_default().to_owned()
}

type Identity = (Option<String>, Option<String>, u32, Option<Timestamp>);

/// Returns name, id, retries and expiry, as far as the headers are readable.
fn identity(message: &Message) -> Identity {
    let read = match message.headers.get(names::TASK) {
        Some(_) => TaskHeaders::read(&message.headers).ok(),
        // A message of protocol 1 has them in its body.
        None => message.clone().read_headers(&DecodeLimits::default(), || TimeZone::UTC).ok(),
    };
    match read {
        Some(TaskHeaders { task, id, retries, expires, .. }) => (Some(task), Some(id), retries, expires),
        None => {
            let text = |name| message.headers.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
            (text(names::TASK), text(names::ID), 0, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(headers: impl IntoIterator<Item = (&'static str, Value)>) -> DeadLetter {
        let message = Message { headers: headers.into_iter().collect(), ..Message::default() };
        DeadLetter::read(&message, "mail.dead")
    }

    fn death(reason: &str, queue: &str, key: &str) -> Value {
        let entries = [
            ("reason", reason.into()),
            ("queue", queue.into()),
            ("exchange", "orders".into()),
            ("routing-keys", Value::List(vec![key.into()])),
            ("time", Value::Int(1_795_166_829)),
            ("count", Value::Int(1)),
        ];
        Value::Map(entries.map(|(name, value)| (name.to_owned(), value)).into())
    }

    #[test]
    fn the_headers_of_a_worker_are_read() {
        let letter = read([
            ("task", "orders.charge".into()),
            ("id", "1".into()),
            ("retries", Value::Int(2)),
            ("celeriac-replayed", Value::Int(3)),
            ("celeriac-dead-reason", "exhausted".into()),
            ("celeriac-dead-error", "no funds".into()),
            ("celeriac-dead-queue", "billing".into()),
            ("celeriac-dead-exchange", "orders".into()),
            ("celeriac-dead-routing-key", "billing.charge".into()),
            ("celeriac-dead-worker", "w1@host".into()),
            ("celeriac-dead-at", "2026-11-21T10:00:00Z".into()),
        ]);
        let expected = DeadLetter {
            dead_queue: "mail.dead".to_owned(),
            queue: "billing".to_owned(),
            reason: "exhausted".to_owned(),
            error: Some("no funds".to_owned()),
            task: Some("orders.charge".to_owned()),
            id: Some("1".to_owned()),
            exchange: "orders".to_owned(),
            routing_key: "billing.charge".to_owned(),
            at: Some("2026-11-21T10:00:00Z".parse().unwrap()),
            worker: Some("w1@host".to_owned()),
            attempts: 3,
            replays: 3,
            expires: None,
            size: 0,
        };
        assert_eq!(letter, expected);
    }

    #[test]
    fn the_latest_death_is_read_before_those_of_a_delay() {
        let delayed = death("expired", "celery_delayed_3", "0.1.mail");
        let letter = read([
            ("task", "t".into()),
            ("id", "1".into()),
            ("x-death", Value::List(vec![death("delivery_limit", "mail", "mail"), delayed])),
        ]);
        assert_eq!((letter.reason.as_str(), letter.queue.as_str()), ("delivery_limit", "mail"));
        assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), ("orders", "mail"));
        assert_eq!(letter.at, Some(Timestamp::from_second(1_795_166_829).unwrap()));
        assert_eq!((letter.error, letter.worker), (None, None));
    }

    #[test]
    fn the_death_of_the_broker_wins_over_the_headers_of_a_worker() {
        let worker = ("celeriac-dead-reason", Value::from("exhausted"));
        let letter = read([worker, ("x-death", Value::List(vec![death("expired", "mail", "mail")]))]);
        assert_eq!(letter.reason, "expired");
    }

    #[test]
    fn a_shared_dead_letter_queue_does_not_name_the_original_queue() {
        assert_eq!(DeadLetter::read(&Message::default(), "graveyard").queue, "");
    }

    #[test]
    fn a_message_without_readable_headers_is_a_dead_letter() {
        let letter = read([("task", Value::Int(7)), ("x-death", "none".into()), ("id", "".into())]);
        assert_eq!((letter.task, letter.id, letter.reason.as_str()), (None, None, UNKNOWN));
        assert_eq!(letter.queue, "mail", "its queue's name says where it came from");
    }

    #[test]
    fn a_message_of_protocol_1_is_read_from_its_body() {
        let body = Bytes::from_static(br#"{"task":"t.add","id":"old","args":[1],"kwargs":{},"retries":1}"#);
        let properties = celeriac_protocol::Properties {
            content_type: Some("application/json".to_owned()),
            ..celeriac_protocol::Properties::default()
        };
        let message = Message { body, properties, ..Message::default() };
        let letter = DeadLetter::read(&message, "mail.dead");
        assert_eq!((letter.task.as_deref(), letter.id.as_deref(), letter.attempts), (Some("t.add"), Some("old"), 2));
    }
}
