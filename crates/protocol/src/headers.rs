//! The headers of a message: the raw map, and the ones a task has.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::time;
use crate::value::Value;

/// Names of the headers of Celery's task protocol 2, and of our own.
pub mod names {
    /// Registered name of the task. Its presence makes a message a task of protocol 2.
    pub const TASK: &str = "task";
    /// Task id.
    pub const ID: &str = "id";
    /// Earliest time to run.
    pub const ETA: &str = "eta";
    /// Time after which the task must not start.
    pub const EXPIRES: &str = "expires";
    /// How often the task was tried before.
    pub const RETRIES: &str = "retries";
    /// Id of the first task of the workflow.
    pub const ROOT_ID: &str = "root_id";
    /// Id of the task that sent this one.
    pub const PARENT_ID: &str = "parent_id";
    /// Id of the group the task belongs to.
    pub const GROUP: &str = "group";
    /// Whether the result is of no interest.
    pub const IGNORE_RESULT: &str = "ignore_result";
    /// Why a message stands in a dead-letter queue.
    pub const DEAD_REASON: &str = "celeriac-dead-reason";
    /// What went wrong, in words.
    pub const DEAD_ERROR: &str = "celeriac-dead-error";
    /// The queue the message was taken from.
    pub const DEAD_QUEUE: &str = "celeriac-dead-queue";
    /// The exchange it was published to.
    pub const DEAD_EXCHANGE: &str = "celeriac-dead-exchange";
    /// The routing key it was published with.
    pub const DEAD_ROUTING_KEY: &str = "celeriac-dead-routing-key";
    /// When it was dead-lettered.
    pub const DEAD_AT: &str = "celeriac-dead-at";
    /// The worker that dead-lettered it.
    pub const DEAD_WORKER: &str = "celeriac-dead-worker";
}

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

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
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

/// What the headers of a task say, as far as a worker acts on it.
///
/// Headers that stand at their default are not written: each costs the broker about a microsecond on either side.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskHeaders {
    /// Registered name of the task.
    pub task: String,
    /// Id of this task.
    pub id: String,
    /// How often it was tried before.
    pub retries: u32,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which it must not start.
    pub expires: Option<Timestamp>,
    /// First task of the workflow; the task itself when it was sent from outside one.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
    /// The group the task belongs to.
    pub group: Option<String>,
    /// Whether the sender wants no result stored.
    pub ignore_result: Option<bool>,
}

impl TaskHeaders {
    /// Reads the headers of a task.
    ///
    /// # Errors
    /// When `task` or `id` is missing, or a header has a value that cannot be understood.
    pub fn read(headers: &HeaderMap) -> Result<Self, HeaderError> {
        let mut read = Self::default();
        // One walk over the headers, not one for each name: this is on the way of every message.
        for (name, value) in headers.iter() {
            match name {
                names::TASK => read.task = required_text(names::TASK, value)?,
                names::ID => read.id = required_text(names::ID, value)?,
                names::RETRIES => read.retries = count(names::RETRIES, value)?,
                names::ETA => read.eta = moment(names::ETA, value)?,
                names::EXPIRES => read.expires = moment(names::EXPIRES, value)?,
                names::ROOT_ID => read.root_id = text(names::ROOT_ID, value)?,
                names::PARENT_ID => read.parent_id = text(names::PARENT_ID, value)?,
                names::GROUP => read.group = text(names::GROUP, value)?,
                names::IGNORE_RESULT => read.ignore_result = flag(names::IGNORE_RESULT, value)?,
                _ => {}
            }
        }
        if read.task.is_empty() {
            return Err(HeaderError::Missing { name: names::TASK });
        }
        if read.id.is_empty() {
            return Err(HeaderError::Missing { name: names::ID });
        }
        Ok(read)
    }

    /// Writes these headers into a map that has none of them yet.
    pub fn write(self, headers: &mut HeaderMap) {
        headers.push(names::TASK, self.task);
        headers.push(names::ID, self.id);
        if self.retries > 0 {
            headers.push(names::RETRIES, self.retries);
        }
        if let Some(eta) = self.eta {
            headers.push(names::ETA, time::to_iso(eta));
        }
        if let Some(expires) = self.expires {
            headers.push(names::EXPIRES, time::to_iso(expires));
        }
        let texts = [(names::ROOT_ID, self.root_id), (names::PARENT_ID, self.parent_id), (names::GROUP, self.group)];
        for (name, value) in texts {
            if let Some(value) = value {
                headers.push(name, value);
            }
        }
        if let Some(ignore) = self.ignore_result {
            headers.push(names::IGNORE_RESULT, ignore);
        }
    }

    /// Turns the headers of a delivered task into those of its next attempt, in place.
    pub fn next_attempt(headers: &mut HeaderMap, retries: u32, eta: Option<Timestamp>) {
        headers.strip_deaths();
        headers.insert(names::RETRIES, retries);
        match eta {
            Some(eta) => headers.insert(names::ETA, time::to_iso(eta)),
            None => drop(headers.remove(names::ETA)),
        }
        if let Some(id) = headers.text(names::ID).map(str::to_owned) {
            // As Celery does: a retried task is its own parent.
            headers.insert(names::PARENT_ID, id);
        }
    }
}

fn text(name: &'static str, value: &Value) -> Result<Option<String>, HeaderError> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text.clone())),
        other => Err(HeaderError::wrong(name, "a string", other)),
    }
}

fn required_text(name: &'static str, value: &Value) -> Result<String, HeaderError> {
    /// Longer names and ids do not fit Celery's result tables, nor ours.
    const LONGEST: usize = 255;
    match value {
        Value::Text(text) if text.len() > LONGEST => {
            Err(HeaderError::Invalid { name, expected: "at most 255 bytes", found: format!("{} bytes", text.len()) })
        }
        Value::Text(text) if text.contains('\0') => {
            Err(HeaderError::Invalid { name, expected: "text", found: "text with a zero byte".to_owned() })
        }
        Value::Text(text) => Ok(text.clone()),
        other => Err(HeaderError::wrong(name, "a string", other)),
    }
}

fn count(name: &'static str, value: &Value) -> Result<u32, HeaderError> {
    match value {
        Value::Null => Ok(0),
        Value::Int(number) => u32::try_from(*number).map_err(|_| HeaderError::Invalid {
            name,
            expected: "a count",
            found: number.to_string(),
        }),
        other => Err(HeaderError::wrong(name, "a count", other)),
    }
}

fn flag(name: &'static str, value: &Value) -> Result<Option<bool>, HeaderError> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(*flag)),
        other => Err(HeaderError::wrong(name, "true or false", other)),
    }
}

fn moment(name: &'static str, value: &Value) -> Result<Option<Timestamp>, HeaderError> {
    const EXPECTED: &str = "a time in ISO 8601";
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => time::from_iso(text).map(Some).ok_or_else(|| HeaderError::Invalid {
            name,
            expected: EXPECTED,
            found: shortened(text),
        }),
        other => Err(HeaderError::wrong(name, EXPECTED, other)),
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}

/// A header that makes a message unreadable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header without which there is no task.
    #[error("header `{name}` is missing")]
    Missing {
        /// The header.
        name: &'static str,
    },
    /// A header whose value cannot be understood.
    #[error("header `{name}` should be {expected}, got {found}")]
    Invalid {
        /// The header.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

impl HeaderError {
    fn wrong(name: &'static str, expected: &'static str, found: &Value) -> Self {
        Self::Invalid { name, expected, found: found.kind().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> HeaderMap {
        [("task", Value::from("t.add")), ("id", Value::from("min-1"))].into_iter().collect()
    }

    #[test]
    fn task_and_id_are_enough() {
        let read = TaskHeaders::read(&minimal()).unwrap();
        assert_eq!((read.task.as_str(), read.id.as_str(), read.retries), ("t.add", "min-1", 0));
    }

    #[test]
    fn headers_at_their_default_are_not_written() {
        let mut written = HeaderMap::new();
        TaskHeaders::read(&minimal()).unwrap().write(&mut written);
        assert_eq!(written, minimal());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let headers = TaskHeaders {
            task: "orders.charge".to_owned(),
            id: "1".to_owned(),
            retries: 3,
            eta: Some("2026-11-20T09:40:17.122093Z".parse().unwrap()),
            expires: Some("2026-11-20T09:41:07Z".parse().unwrap()),
            root_id: Some("0".to_owned()),
            parent_id: Some("0".to_owned()),
            group: Some("g".to_owned()),
            ignore_result: Some(true),
        };
        let mut map = HeaderMap::new();
        headers.clone().write(&mut map);
        assert_eq!(map.text("eta"), Some("2026-11-20T09:40:17.122093+00:00"));
        assert_eq!(TaskHeaders::read(&map).unwrap(), headers);
    }

    #[test]
    fn a_header_that_cannot_be_understood_is_named() {
        let cases = [
            ("task", Value::List(vec![]), "header `task` should be a string, got a list"),
            ("id", Value::Null, "header `id` should be a string, got null"),
            ("id", Value::from(""), "header `id` is missing"),
            ("retries", Value::Int(-1), "header `retries` should be a count, got -1"),
            ("eta", Value::from("soon"), "header `eta` should be a time in ISO 8601, got `soon`"),
            ("expires", Value::Int(5), "header `expires` should be a time in ISO 8601, got an integer"),
            ("ignore_result", Value::from("yes"), "header `ignore_result` should be true or false, got a string"),
        ];
        for (name, value, message) in cases {
            let mut headers = minimal();
            headers.insert(name, value);
            assert_eq!(TaskHeaders::read(&headers).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_next_attempt_keeps_unknown_headers_and_drops_the_brokers() {
        let mut headers = minimal();
        headers.insert("x-custom", "v");
        headers.insert("x-death", Value::List(vec![]));
        headers.insert("x-first-death-queue", "q");
        headers.insert("x-last-death-reason", "expired");
        TaskHeaders::next_attempt(&mut headers, 1, None);
        let names: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["task", "id", "x-custom", "retries", "parent_id"]);
        assert_eq!(headers.text("parent_id"), Some("min-1"));
    }
}
