//! The headers of a message, as they are.

use std::borrow::Cow;

use jiff::Timestamp;

use super::names;
use crate::time;
use crate::value::Value;

/// The headers of a message, in the order in which they were written.
///
/// A message has a handful of them, so a look-up walks the list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderMap(Vec<(Cow<'static, str>, Value)>);

impl HeaderMap {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// No headers yet, with room for some.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of a header, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Sets a header, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let name = name.into();
        match self.0.iter_mut().find(|(key, _)| *key == name) {
            Some(entry) => entry.1 = value.into(),
            None => self.0.push((name, value.into())),
        }
    }

    /// Adds a header that is known to be new, without looking for one of the same name.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Takes a header out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// Keeps only the headers whose name pleases `keep`.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// Takes out what RabbitMQ wrote when it dead-lettered the message.
    ///
    /// A message that is published again must not carry them: RabbitMQ's cycle detection would silently drop it on its
    /// next dead-letter hop, and every delay is one.
    pub fn strip_deaths(&mut self) {
        self.retain(|name| {
            !(name == "x-death" || name.starts_with("x-first-death-") || name.starts_with("x-last-death-"))
        });
    }

    /// The number of replays of the message from a dead-letter queue.
    pub fn replays(&self) -> u32 {
        let replays = self.get(names::REPLAYED).and_then(Value::as_i64);
        replays.and_then(|replays| u32::try_from(replays).ok()).unwrap_or_default()
    }

    /// When the last attempt has to begin at the latest, as the first one has left it.
    pub fn retry_until(&self) -> Option<Timestamp> {
        self.text(names::RETRY_UNTIL).and_then(time::from_iso)
    }

    /// Says when the last attempt has to begin at the latest.
    pub fn set_retry_until(&mut self, until: Timestamp) {
        self.insert(names::RETRY_UNTIL, time::to_iso(until));
    }

    /// The number of times the message went round because of its task's rate limit.
    pub fn rounds(&self) -> u32 {
        let rounds = self.get(names::ROUNDS).and_then(Value::as_i64);
        rounds.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or_default()
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// The number of them.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
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
