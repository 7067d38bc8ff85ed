//! The headers of a task.

use std::time::Duration;

use jiff::Timestamp;

use super::limits::TimeLimits;
use super::map::HeaderMap;
use super::names;
use super::read::{
    HeaderError, changed, count, fits, flag, integer, limits, map, moment, optional_id, required_text, text, texts,
};
use crate::time;
use crate::value::{Map, Value};

/// The headers of a task that affect its execution.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskHeaders {
    /// Registered name of the task.
    pub task: String,
    /// The task id.
    pub id: String,
    /// Number of earlier attempts.
    pub retries: u32,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which the task must not start.
    pub expires: Option<Timestamp>,
    /// The first task of the workflow. The task itself if it was sent from outside one.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
    /// The group of the task.
    pub group: Option<String>,
    /// The position in the group.
    pub group_index: Option<i64>,
    /// A display name in place of the task's.
    pub shadow: Option<String>,
    /// The time limits of an attempt.
    pub limits: TimeLimits,
    /// True if the sender does not want the result stored.
    pub ignore_result: Option<bool>,
    /// Number of times that the task was replaced by another one.
    pub replaced_task_nesting: u32,
    /// The names of the stamps.
    pub stamped_headers: Vec<String>,
    /// The stamps, by name.
    pub stamps: Map,
}

/// The headers of a task that people and monitors read, and that do not affect its execution.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Appearance {
    /// Positional arguments as Python prints them.
    pub argsrepr: String,
    /// Named arguments as Python prints them.
    pub kwargsrepr: String,
    /// The process that sends the task.
    pub origin: String,
}

/// Earliest time that is accepted. No task is older.
const EARLIEST: Timestamp = Timestamp::UNIX_EPOCH;

impl TaskHeaders {
    /// Reads the headers of a task.
    ///
    /// # Errors
    /// Returns an error if `task` or `id` is missing, or if a header has an invalid value.
    pub fn read(headers: &HeaderMap) -> Result<Self, HeaderError> {
        let mut read = Self::default();
        // One pass over the headers, not one for each name, because every message is read here.
        for (name, value) in headers.iter() {
            match name {
                names::TASK => read.task = required_text(names::TASK, value)?,
                names::ID => read.id = required_text(names::ID, value)?,
                names::RETRIES => read.retries = count(names::RETRIES, value)?,
                names::ETA => read.eta = moment(names::ETA, value)?,
                names::EXPIRES => read.expires = moment(names::EXPIRES, value)?,
                names::ROOT_ID => read.root_id = optional_id(names::ROOT_ID, value)?,
                names::PARENT_ID => read.parent_id = optional_id(names::PARENT_ID, value)?,
                names::GROUP => read.group = optional_id(names::GROUP, value)?,
                names::GROUP_INDEX => read.group_index = integer(names::GROUP_INDEX, value)?,
                names::SHADOW => read.shadow = text(names::SHADOW, value)?,
                names::TIMELIMIT => read.limits = limits(names::TIMELIMIT, value)?,
                names::IGNORE_RESULT => read.ignore_result = flag(names::IGNORE_RESULT, value)?,
                names::REPLACED_TASK_NESTING => {
                    read.replaced_task_nesting = count(names::REPLACED_TASK_NESTING, value)?;
                }
                names::STAMPED_HEADERS => read.stamped_headers = texts(names::STAMPED_HEADERS, value)?,
                names::STAMPS => read.stamps = map(names::STAMPS, value)?,
                names::UNREADABLE => return Err(changed(value)),
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

    /// Checks that every worker can read these headers.
    ///
    /// # Errors
    /// Returns an error if the name or the id is missing or too long, or if a time is earlier than
    /// Python can represent.
    pub fn check(&self) -> Result<(), HeaderError> {
        for (name, text) in [(names::TASK, &self.task), (names::ID, &self.id)] {
            fits(name, text)?;
            if text.is_empty() {
                return Err(HeaderError::Missing { name });
            }
        }
        let ids = [(names::ROOT_ID, &self.root_id), (names::PARENT_ID, &self.parent_id), (names::GROUP, &self.group)];
        for (name, id) in ids {
            if let Some(id) = id {
                fits(name, id)?;
            }
        }
        for (name, time) in [(names::ETA, self.eta), (names::EXPIRES, self.expires)] {
            // Python cannot convert the time zone in the first days of its calendar.
            if let Some(time) = time.filter(|time| *time < EARLIEST) {
                let found = time.to_string();
                return Err(HeaderError::Invalid { name, expected: "a time since 1970", found });
            }
        }
        Ok(())
    }

    /// Writes these headers into a map without them.
    ///
    /// With an appearance it writes every header of Celery, including defaults. Without one it
    /// writes only headers that differ from their default: each costs the broker about a
    /// microsecond on either side, and a worker needs no others.
    pub fn write(self, headers: &mut HeaderMap, appearance: Option<Appearance>) {
        let all = appearance.is_some();
        let mut put = |name: &'static str, value: Option<Value>| {
            if all || value.is_some() {
                headers.push(name, value.unwrap_or_default());
            }
        };
        let nonzero = |count: u32| (all || count > 0).then(|| count.into());
        put(names::TASK, Some(self.task.into()));
        put(names::ID, Some(self.id.into()));
        put(names::SHADOW, self.shadow.map(Value::from));
        put(names::ETA, self.eta.map(|eta| time::to_iso(eta).into()));
        put(names::EXPIRES, self.expires.map(|expires| time::to_iso(expires).into()));
        put(names::GROUP, self.group.map(Value::from));
        put(names::GROUP_INDEX, self.group_index.map(Value::Int));
        put(names::RETRIES, nonzero(self.retries));
        put(names::TIMELIMIT, (all || self.limits != TimeLimits::default()).then(|| self.limits.to_value()));
        put(names::ROOT_ID, self.root_id.map(Value::from));
        put(names::PARENT_ID, self.parent_id.map(Value::from));
        put(names::IGNORE_RESULT, self.ignore_result.map(Value::from));
        put(names::REPLACED_TASK_NESTING, nonzero(self.replaced_task_nesting));
        let names_of_stamps: Vec<_> = self.stamped_headers.into_iter().map(Value::from).collect();
        put(names::STAMPED_HEADERS, (!names_of_stamps.is_empty()).then_some(Value::List(names_of_stamps)));
        put(names::STAMPS, (all || !self.stamps.is_empty()).then_some(Value::Map(self.stamps)));
        if let Some(Appearance { argsrepr, kwargsrepr, origin }) = appearance {
            put(names::LANG, Some("rs".into()));
            put(names::ARGSREPR, Some(argsrepr.into()));
            put(names::KWARGSREPR, Some(kwargsrepr.into()));
            put(names::ORIGIN, Some(origin.into()));
        }
    }

    /// Turns the headers of a delivered task into those of its next attempt, in place.
    pub fn next_attempt(headers: &mut HeaderMap, retries: u32, eta: Option<Timestamp>) {
        headers.strip_deaths();
        // The next attempt has not requested a start yet.
        headers.remove(names::ROUNDS);
        headers.remove(names::UNKNOWN_SINCE);
        headers.insert(names::RETRIES, retries);
        headers.remove(names::SUSPECTED);
        match eta {
            Some(eta) => headers.insert(names::ETA, time::to_iso(eta)),
            None => drop(headers.remove(names::ETA)),
        }
        let orphan = headers.text(names::PARENT_ID).is_none();
        if let (true, Some(id)) = (orphan, headers.text(names::ID).map(str::to_owned)) {
            // As in Celery, a retried task without a parent is its own parent.
            headers.insert(names::PARENT_ID, id);
        }
    }
}

impl TimeLimits {
    /// Returns `[hard, soft]`. Celery's documentation of the protocol has the opposite order, but
    /// its code has this one.
    fn to_value(self) -> Value {
        let seconds = |limit: Option<Duration>| match limit {
            None => Value::Null,
            Some(limit) if limit.subsec_nanos() == 0 => Value::from(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX)),
            Some(limit) => Value::Float(limit.as_secs_f64()),
        };
        Value::List(vec![seconds(self.hard), seconds(self.soft)])
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
        TaskHeaders::read(&minimal()).unwrap().write(&mut written, None);
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
            group_index: Some(0),
            shadow: Some("charge".to_owned()),
            limits: TimeLimits { hard: Some(Duration::from_secs(9)), soft: Some(Duration::from_millis(2_500)) },
            ignore_result: Some(true),
            replaced_task_nesting: 1,
            stamped_headers: vec!["team".to_owned()],
            stamps: [("team".to_owned(), Value::from("x"))].into_iter().collect(),
        };
        let mut map = HeaderMap::new();
        headers.clone().write(&mut map, None);
        assert_eq!(map.text("eta"), Some("2026-11-20T09:40:17.122093+00:00"));
        assert_eq!(map.get("timelimit"), Some(&Value::List(vec![Value::Int(9), Value::Float(2.5)])));
        assert_eq!(TaskHeaders::read(&map).unwrap(), headers);
    }

    #[test]
    fn with_its_appearance_a_task_has_every_header_that_celery_writes() {
        let mut written = HeaderMap::new();
        TaskHeaders::read(&minimal()).unwrap().write(&mut written, Some(Appearance::default()));
        let mut found: Vec<_> = written.iter().map(|(name, _)| name).collect();
        found.sort_unstable();
        let celerys = [
            "argsrepr",
            "eta",
            "expires",
            "group",
            "group_index",
            "id",
            "ignore_result",
            "kwargsrepr",
            "lang",
            "origin",
            "parent_id",
            "replaced_task_nesting",
            "retries",
            "root_id",
            "shadow",
            "stamped_headers",
            "stamps",
            "task",
            "timelimit",
        ];
        assert_eq!(found, celerys);
        assert_eq!(written.get("timelimit"), Some(&Value::List(vec![Value::Null, Value::Null])));
        // Not false, which would override the task's own option.
        assert_eq!(written.get("ignore_result"), Some(&Value::Null));
        assert_eq!(TaskHeaders::read(&written).unwrap().task, "t.add");
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
            ("timelimit", Value::Int(9), "header `timelimit` should be [hard, soft] in seconds, got an integer"),
            (
                "timelimit",
                Value::List(vec![Value::Int(-1), Value::Null]),
                "header `timelimit` should be [hard, soft] in seconds, got -1",
            ),
            ("stamps", Value::List(vec![]), "header `stamps` should be an object, got a list"),
            ("ignore_result", Value::from("yes"), "header `ignore_result` should be true or false, got a string"),
        ];
        for (name, value, message) in cases {
            let mut headers = minimal();
            headers.insert(name, value);
            assert_eq!(TaskHeaders::read(&headers).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_next_attempt_keeps_unknown_headers_and_drops_the_brokers_and_its_rounds() {
        let mut headers = minimal();
        headers.insert(names::ROUNDS, 2_u32);
        headers.set_unknown_since(Timestamp::UNIX_EPOCH);
        headers.insert("x-custom", "v");
        headers.insert("x-death", Value::List(vec![]));
        headers.insert("x-first-death-queue", "q");
        headers.insert("x-last-death-reason", "expired");
        headers.insert("CC", Value::List(vec!["copies".into()]));
        TaskHeaders::next_attempt(&mut headers, 1, None);
        let names: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["task", "id", "x-custom", "retries", "parent_id"]);
        assert_eq!(headers.text("parent_id"), Some("min-1"));
        headers.insert("parent_id", "sender");
        TaskHeaders::next_attempt(&mut headers, 2, None);
        assert_eq!(headers.text("parent_id"), Some("sender"));
    }
}
