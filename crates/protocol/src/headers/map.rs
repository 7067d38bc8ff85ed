//! The raw headers of a message.

use std::borrow::Cow;

use jiff::Timestamp;

use super::names;
use crate::time;
use crate::value::Value;

/// The headers of a message, in the order of writing.
///
/// A message has few headers, so a look-up walks the list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderMap(Vec<(Cow<'static, str>, Value)>);

impl HeaderMap {
    /// Returns an empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty map with room for headers.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Returns the value of a header.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the value of a header, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Sets a header. Replaces one of the same name.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let name = name.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(entry) => entry.1 = value.into(),
            None => self.0.push((name, value.into())),
        }
    }

    /// Adds a header that is known to be new, without a search for its name.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Removes and returns a header.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// Keeps only the headers whose names satisfy `keep`.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// Removes the headers that RabbitMQ wrote at dead-lettering, and those that ask for copies.
    ///
    /// A message that is published again must not have them. RabbitMQ's cycle detection would
    /// silently drop it at its next dead-lettering, and every delay is one. The copies were made
    /// when the message was published first.
    pub fn strip_deaths(&mut self) {
        self.retain(|name| {
            !(name == names::CC
                || name == names::BCC
                || name == "x-death"
                || name.starts_with("x-first-death-")
                || name.starts_with("x-last-death-"))
        });
    }

    /// Returns the number of replays of the message from a dead-letter queue.
    ///
    /// A number that no operator reaches is a sender's. It counts as zero, so that a replay can
    /// still have a higher one.
    pub fn replays(&self) -> u32 {
        const MOST: u32 = 1 << 30;
        let replays = self.get(names::REPLAYED).and_then(Value::as_i64);
        replays.and_then(|replays| u32::try_from(replays).ok()).filter(|replays| *replays < MOST).unwrap_or_default()
    }

    /// Returns the latest start of the last attempt, as the first attempt has set it.
    pub fn retry_until(&self) -> Option<Timestamp> {
        self.text(names::RETRY_UNTIL).and_then(time::from_iso)
    }

    /// Sets the latest start of the last attempt.
    pub fn set_retry_until(&mut self, until: Timestamp) {
        self.insert(names::RETRY_UNTIL, time::to_iso(until));
    }

    /// Sets the time after which the task must not start.
    pub fn set_expires(&mut self, expires: Timestamp) {
        self.insert(names::EXPIRES, time::to_iso(expires));
    }

    /// Returns the number of times that the message returned to the broker because of a rate limit.
    pub fn rounds(&self) -> u32 {
        let rounds = self.get(names::ROUNDS).and_then(Value::as_i64);
        rounds.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or_default()
    }

    /// Returns the time at which a worker first returned the message because it does not know the
    /// task.
    pub fn unknown_since(&self) -> Option<Timestamp> {
        self.text(names::UNKNOWN_SINCE).and_then(time::from_iso)
    }

    /// Sets the time at which a worker first returned the message.
    pub fn set_unknown_since(&mut self, since: Timestamp) {
        self.insert(names::UNKNOWN_SINCE, time::to_iso(since));
    }

    /// Returns all headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Returns the number of headers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for HeaderMap {
    type Item = (Cow<'static, str>, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<N: Into<Cow<'static, str>>> FromIterator<(N, Value)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, Value)>>(headers: I) -> Self {
        Self(headers.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}
