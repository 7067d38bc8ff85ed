//! The message of a replay.

use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, Value};

use super::DeadLetter;

/// Options of the message of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayOptions {
    /// Removes the expiry.
    pub drop_expires: bool,
}

impl ReplayOptions {
    /// Returns the message of the sender, marked as a replay.
    ///
    /// The headers about its death are removed, attempts start again at one, and no delay is left.
    /// The number of the replay tells it from a redelivery: the worker runs it although its failure
    /// is recorded. If only follow-ups are missing, the worker reads the result from the store and
    /// sends them.
    pub fn write(self, dead: Message, letter: &DeadLetter) -> Message {
        let mut message = dead;
        let headers = &mut message.headers;
        headers.strip_deaths();
        headers.retain(|name| !name.starts_with(names::DEAD_PREFIX) && !BROKERS.contains(&name));
        headers.remove(names::ETA);
        headers.remove(names::RETRY_UNTIL);
        headers.remove(names::SUSPECTED);
        headers.remove(names::RETRIED_FROM);
        headers.remove(names::UNKNOWN_SINCE);
        if headers.get(names::RETRIES).is_some() {
            headers.insert(names::RETRIES, Value::Int(0));
        }
        if letter.reason == names::NOT_FOLLOWED_UP {
            headers.insert(names::REPEATED, true);
        } else {
            headers.insert(names::REPLAYED, letter.replays + 1);
        }
        if self.drop_expires {
            headers.remove(names::EXPIRES);
            message.properties.expiration = None;
        }
        message
    }
}

/// Headers that the broker adds to a delivery.
const BROKERS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn dead(reason: &str) -> Message {
        let text = |name, value: &str| (name, Value::from(value));
        let mut message = Message {
            headers: [
                text("task", "t"),
                text("id", "1"),
                text("x-own", "kept"),
                text("traceparent", "kept"),
                ("retries", Value::Int(3)),
                text("eta", "2026-11-21T10:00:00Z"),
                text("expires", "2026-11-21T10:00:00Z"),
                text("celeriac-retry-until", "2026-11-21T10:00:00Z"),
                text("celeriac-unknown-since", "2026-11-21T10:00:00Z"),
                text("celeriac-dead-reason", reason),
                text("celeriac-dead-error", "e"),
                text("celeriac-dead-queue", "mail"),
                text("celeriac-dead-exchange", ""),
                text("celeriac-dead-routing-key", "mail"),
                text("celeriac-dead-worker", "w"),
                text("celeriac-dead-at", "2026-11-21T10:00:00Z"),
                ("x-death", Value::List(vec![])),
                text("x-first-death-reason", "expired"),
                ("x-delivery-count", Value::Int(3)),
            ]
            .into_iter()
            .collect(),
            body: "[[],{},{}]".into(),
            ..Message::default()
        };
        message.properties.expiration = Some(Duration::from_secs(1));
        message.properties.priority = Some(2);
        message
    }

    fn again(options: ReplayOptions, dead: Message) -> Message {
        let letter = DeadLetter::read(&dead, "mail.dead");
        options.write(dead, &letter)
    }

    fn names(message: &Message) -> Vec<&str> {
        message.headers.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_replay_is_what_its_sender_wrote_and_the_number_of_the_replay() {
        let message = again(ReplayOptions::default(), dead("exhausted"));
        assert_eq!(names(&message), ["task", "id", "x-own", "traceparent", "retries", "expires", "celeriac-replayed"]);
        assert_eq!((message.headers.get("retries"), message.headers.replays()), (Some(&Value::Int(0)), 1));
        assert_eq!((message.body.as_ref(), message.properties.priority), (&b"[[],{},{}]"[..], Some(2)));
        assert_eq!(again(ReplayOptions::default(), message).headers.replays(), 2);
    }

    #[test]
    fn a_number_of_replays_that_only_a_sender_writes_is_none() {
        let mut message = dead("exhausted");
        message.headers.insert("celeriac-replayed", Value::Int(i64::from(u32::MAX)));
        assert_eq!(again(ReplayOptions::default(), message).headers.replays(), 1);
    }

    #[test]
    fn its_expiry_is_dropped_at_a_wish_only() {
        let kept = again(ReplayOptions::default(), dead("expired"));
        assert!(kept.headers.get("expires").is_some() && kept.properties.expiration.is_some());
        let dropped = again(ReplayOptions { drop_expires: true }, dead("expired"));
        assert!(dropped.headers.get("expires").is_none() && dropped.properties.expiration.is_none());
    }

    #[test]
    fn one_whose_work_is_done_is_marked_as_repeated_and_not_as_replayed() {
        let message = again(ReplayOptions::default(), dead("not-followed-up"));
        assert_eq!(message.headers.get("celeriac-repeated"), Some(&Value::Bool(true)));
        assert_eq!(message.headers.replays(), 0);
    }
}
