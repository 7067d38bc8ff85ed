//! The rules of a chord for which Celery has no spelling: which ends of its members decide it, and
//! until when.

use std::time::Duration;

use super::SignatureError;
use crate::value::{Map, Value};

/// The option of a chord's signature that has its rules.
const OPTION: &str = "celeriac_chord";

/// The rules of a chord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChordRules {
    /// The ends of members that decide it.
    pub policy: ChordPolicy,
    /// Time from its start to its end. After it, a chord that is not decided fails.
    pub deadline: Option<Duration>,
}

/// The ends of members that decide a chord.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChordPolicy {
    /// All members end. If one has not succeeded, the chord fails.
    #[default]
    All,
    /// The chord fails when the first member has not succeeded.
    FailFast,
    /// All members end. The body gets the error of a member in the place of its result.
    Settled,
    /// So many members succeed. The body gets the results of those that have.
    AtLeast(u64),
}

impl ChordRules {
    /// Reads the rules in the options of a chord's signature.
    ///
    /// # Errors
    /// Returns an error if they are not valid.
    pub fn read(options: &Map) -> Result<Self, SignatureError> {
        let Some(value) = options.get(OPTION).filter(|value| !value.is_null()) else { return Ok(Self::default()) };
        let Value::Map(entries) = value else { return Err(SignatureError::new(OPTION, "an object", value)) };
        let mut rules = Self::default();
        for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
            let invalid = |expected| SignatureError::new(key.as_str(), expected, value).within(OPTION);
            match key.as_str() {
                "policy" => {
                    rules.policy = match value.as_str() {
                        Some("all") => ChordPolicy::All,
                        Some("fail-fast") => ChordPolicy::FailFast,
                        Some("settled") => ChordPolicy::Settled,
                        _ => return Err(invalid("all, fail-fast or settled")),
                    }
                }
                "at_least" => {
                    let least = value.as_i64().and_then(|least| u64::try_from(least).ok());
                    rules.policy = ChordPolicy::AtLeast(least.ok_or_else(|| invalid("a number of members"))?);
                }
                "deadline" => {
                    let seconds = match value {
                        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
                        other => {
                            other.as_i64().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
                        }
                    };
                    rules.deadline = Some(seconds.ok_or_else(|| invalid("a number of seconds"))?);
                }
                _ => return Err(invalid("no such rule: policy, at_least or deadline")),
            }
        }
        Ok(rules)
    }

    /// Writes the rules into the options of a chord's signature, if they are not the default ones.
    pub fn write(self, options: &mut Map) {
        let mut entries = Map::new();
        match self.policy {
            ChordPolicy::All => {}
            ChordPolicy::FailFast => drop(entries.insert("policy".to_owned(), "fail-fast".into())),
            ChordPolicy::Settled => drop(entries.insert("policy".to_owned(), "settled".into())),
            ChordPolicy::AtLeast(least) => {
                entries.insert("at_least".to_owned(), i64::try_from(least).unwrap_or(i64::MAX).into());
            }
        }
        if let Some(deadline) = self.deadline {
            entries.insert("deadline".to_owned(), Value::Float(deadline.as_secs_f64()));
        }
        if !entries.is_empty() {
            options.insert(OPTION.to_owned(), Value::Map(entries));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_the_way_through_a_signature() {
        for policy in [ChordPolicy::All, ChordPolicy::FailFast, ChordPolicy::Settled, ChordPolicy::AtLeast(3)] {
            for deadline in [None, Some(Duration::from_millis(1_500))] {
                let (rules, mut options) = (ChordRules { policy, deadline }, Map::new());
                rules.write(&mut options);
                assert_eq!(options.is_empty(), rules == ChordRules::default());
                assert_eq!(ChordRules::read(&options), Ok(rules));
            }
        }
    }

    #[test]
    fn rules_that_nobody_knows_are_refused() {
        for (key, value, message) in [
            ("policy", Value::from("some"), "`celeriac_chord.policy` should be all, fail-fast or settled, got"),
            ("at_least", Value::Int(-1), "`celeriac_chord.at_least` should be a number of members, got"),
            ("deadline", Value::from("1h"), "`celeriac_chord.deadline` should be a number of seconds, got"),
        ] {
            let rules = [(key.to_owned(), value)].into_iter().collect();
            let options = [(OPTION.to_owned(), Value::Map(rules))].into_iter().collect();
            let error = ChordRules::read(&options).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
