//! Selects dead letters.

use std::time::Duration;

use celeriac_topology::{Pattern, read_regex};
use jiff::Timestamp;
use regex::Regex;

use super::DeadLetter;
use crate::error::{Error, Result};

/// A query for dead letters. An absent field matches any letter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterQuery {
    /// Original queues, as names or patterns like those of tasks. Empty for any. Needed if several
    /// queues share a dead-letter queue.
    pub queues: Vec<String>,
    /// Task id.
    pub id: Option<String>,
    /// Task name: exact, a glob, or `/regex/` of the whole name, as in routes.
    pub task: Option<String>,
    /// Reason, as one word.
    pub reason: Option<String>,
    /// Part of the error message, or a `/regex/` to find in it.
    pub error: Option<String>,
    /// Minimum age.
    pub older_than: Option<Duration>,
    /// Maximum age.
    pub newer: Option<Duration>,
}

/// A compiled query. A letter that lacks a queried field does not match.
#[derive(Debug, Default)]
pub struct Filter {
    queues: Vec<Pattern>,
    id: Option<String>,
    task: Option<Pattern>,
    reason: Option<String>,
    error: Option<ErrorPattern>,
    until: Option<Timestamp>,
    since: Option<Timestamp>,
}

#[derive(Debug)]
enum ErrorPattern {
    Text(String),
    Regex(Regex),
}

impl Filter {
    /// Compiles a query. Ages count from `now`.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] with the name of the invalid field.
    pub fn new(wanted: DeadLetterQuery, now: Timestamp) -> Result<Self> {
        let invalid = |key: &str, reason: String| Error::Invalid { key: key.to_owned(), reason };
        let before = |key: &str, age: Option<Duration>| match age {
            Some(age) => now.checked_sub(age).map(Some).map_err(|error| invalid(key, error.to_string())),
            None => Ok(None),
        };
        let queues = wanted.queues.iter().map(|queue| Pattern::read(queue)).collect::<Result<_, _>>();
        Ok(Self {
            queues: queues.map_err(|reason| invalid("queue", reason))?,
            id: wanted.id,
            task: wanted.task.map(|task| Pattern::read(&task)).transpose().map_err(|reason| invalid("task", reason))?,
            reason: wanted.reason,
            error: wanted.error.map(ErrorPattern::read).transpose().map_err(|reason| invalid("error", reason))?,
            until: before("older-than", wanted.older_than)?,
            since: before("newer", wanted.newer)?,
        })
    }

    /// Returns true if the letter matches.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let has = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|id| found == Some(id));
        let comes_from = |queue: &Pattern| queue.matches(&letter.queue);
        (self.queues.is_empty() || self.queues.iter().any(comes_from))
            && has(&self.id, letter.id.as_deref())
            && has(&self.reason, Some(&letter.reason))
            && self.task.as_ref().is_none_or(|task| letter.task.as_deref().is_some_and(|name| task.matches(name)))
            && self.error.as_ref().is_none_or(|part| letter.error.as_deref().is_some_and(|error| part.is_in(error)))
            && self.until.is_none_or(|until| letter.at.is_some_and(|at| at <= until))
            && self.since.is_none_or(|since| letter.at.is_some_and(|at| at >= since))
    }
}

impl ErrorPattern {
    fn read(part: String) -> Result<Self, String> {
        match part.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            Some(regex) => read_regex(&part, regex).map(Self::Regex),
            None => Ok(Self::Text(part)),
        }
    }

    fn is_in(&self, error: &str) -> bool {
        match self {
            Self::Text(part) => error.contains(part),
            Self::Regex(regex) => regex.is_match(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::{Message, Value};

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn letter(age: Option<i64>) -> DeadLetter {
        let headers = [("task", "orders.charge"), ("id", "7")].map(|(name, value)| (name, Value::from(value)));
        let message = Message { headers: headers.into_iter().collect(), ..Message::default() };
        DeadLetter {
            reason: "exhausted".to_owned(),
            error: Some("Declined: no funds on card 17".to_owned()),
            at: age.map(|age| NOW - Duration::from_secs(age.unsigned_abs())),
            ..DeadLetter::read(&message, "mail.dead")
        }
    }

    fn matches(wanted: DeadLetterQuery, letter: &DeadLetter) -> bool {
        Filter::new(wanted, NOW).unwrap().matches(letter)
    }

    #[test]
    fn every_wish_has_to_be_met() {
        let some = |text: &str| Some(text.to_owned());
        let hours = |hours: u64| Some(Duration::from_secs(3_600 * hours));
        let cases = [
            (DeadLetterQuery::default(), true),
            (DeadLetterQuery { id: some("7"), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { id: some("77"), ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { task: some("orders.*"), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { task: some("orders"), ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { task: some("/.*charge/"), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { reason: some("exhausted"), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { reason: some("exhaust"), ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { error: some("no funds"), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { error: some("No funds"), ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { error: some(r"/card \d+$/"), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { error: some(r"/^card/"), ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { queues: vec!["mail".to_owned()], ..DeadLetterQuery::default() }, true),
            (
                DeadLetterQuery { queues: vec!["bills".to_owned(), "ma*".to_owned()], ..DeadLetterQuery::default() },
                true,
            ),
            (DeadLetterQuery { queues: vec!["bills".to_owned()], ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { older_than: hours(1), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { older_than: hours(3), ..DeadLetterQuery::default() }, false),
            (DeadLetterQuery { newer: hours(3), ..DeadLetterQuery::default() }, true),
            (DeadLetterQuery { newer: hours(1), ..DeadLetterQuery::default() }, false),
            (
                DeadLetterQuery {
                    older_than: hours(1),
                    newer: hours(3),
                    task: some("orders.*"),
                    ..DeadLetterQuery::default()
                },
                true,
            ),
            (
                DeadLetterQuery {
                    older_than: hours(1),
                    newer: hours(3),
                    task: some("mail.*"),
                    ..DeadLetterQuery::default()
                },
                false,
            ),
        ];
        for (wanted, expected) in cases {
            assert_eq!(matches(wanted.clone(), &letter(Some(7_200))), expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_dead_letter_without_a_queried_field_does_not_match() {
        let silent = DeadLetter { error: None, task: None, id: None, ..letter(None) };
        let age = Some(Duration::ZERO);
        for wanted in [
            DeadLetterQuery { older_than: age, ..DeadLetterQuery::default() },
            DeadLetterQuery { newer: Some(Duration::from_secs(1 << 40)), ..DeadLetterQuery::default() },
            DeadLetterQuery { error: Some(String::new()), ..DeadLetterQuery::default() },
            DeadLetterQuery { task: Some("*".to_owned()), ..DeadLetterQuery::default() },
        ] {
            assert!(Filter::new(wanted.clone(), NOW).map_or(true, |filter| !filter.matches(&silent)), "{wanted:?}");
        }
        assert!(matches(DeadLetterQuery::default(), &silent));
    }

    #[test]
    fn an_invalid_query_names_its_field() {
        let wrong = |wanted| Filter::new(wanted, NOW).unwrap_err().to_string();
        let told = wrong(DeadLetterQuery { error: Some("/(/".to_owned()), ..DeadLetterQuery::default() });
        assert_eq!(told, "error: `/(/` is not a regular expression: unclosed group, at character 1");
        let told = wrong(DeadLetterQuery { task: Some("/[/".to_owned()), ..DeadLetterQuery::default() });
        assert!(told.starts_with("task: `/[/` is not a regular expression"), "{told}");
    }
}
