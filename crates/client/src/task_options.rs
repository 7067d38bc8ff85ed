//! `task_options` of the configuration: overrides of the options that are declared with tasks.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use celeriac_config::{Parsed, duration, nearest};
use celeriac_protocol::{RetryPolicy, TaskOptions};
use celeriac_topology::Pattern;
use celeriac_units::{AckMode, DurationRange, RateLimit, TimeLimit};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// Each key of an override once: its name, its type, and its effect on a task's options.
macro_rules! keys {
    ($($(#[$attribute:meta])* $key:ident: $type:ty => $apply:expr;)*) => {
        /// One entry of `task_options`. A key that it does not set is left to later entries, or else to the task.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct TaskOverride {
            /// The tasks it is for: a whole name, a glob (`*` any text, `?` any character), or a `/regular expression/` for
            /// the whole name.
            pub task: String,
            $($(#[$attribute])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
            /// Belongs to the `#[task]` attribute; always refused here.
            #[serde(default, skip_serializing)]
            pub retry_on: Option<AttributeOnly>,
            /// Belongs to the `#[task]` attribute; always refused here.
            #[serde(default, skip_serializing)]
            pub retry_within: Option<AttributeOnly>,
        }

        impl TaskOverride {
            /// Takes from a later entry the keys that this one does not set.
            fn fill(&mut self, later: &Self) {
                $(self.$key = self.$key.or(later.$key);)*
            }

            /// Applies each key that it sets.
            fn apply(&self, options: &mut TaskOptions) {
                $(if let Some(value) = self.$key {
                    let apply: fn(&mut TaskOptions, $type) = $apply;
                    apply(options, value);
                })*
            }

            /// The keys that it sets.
            fn set_keys(&self) -> Vec<&'static str> {
                [$((stringify!($key), self.$key.is_some())),*]
                    .into_iter().filter(|(_, set)| *set).map(|(key, _)| key).collect()
            }
        }
    };
}

keys! {
    /// Its priority when the call does not say.
    priority: u8 => |options, priority| options.priority = Some(priority);
    /// How long a message may wait that does not say, before it must not start any more.
    #[serde(with = "duration::option")]
    expires: Duration => |options, expires| options.expires = Some(expires);
    /// Whether its result is not worth storing.
    ignore_result: bool => |options, ignore_result| options.ignore_result = ignore_result;
    /// When its messages are acknowledged.
    acks: Parsed<AckMode> => |options, Parsed(acks)| options.acks = acks;
    /// The first and the longest wait between attempts, such as `1s..10m`, or one wait. Comes with three retries where the
    /// task has none.
    retry_backoff: Parsed<DurationRange> => |options, Parsed(DurationRange { first, cap })| {
        let backoff = RetryPolicy::backoff(first, cap);
        if options.retry.max_retries == Some(0) {
            options.retry.max_retries = backoff.max_retries;
        }
        (options.retry.first, options.retry.cap) = (backoff.first, backoff.cap);
    };
    /// The share of a wait, from 0 to 1, that is left to chance.
    retry_jitter: f64 => |options, jitter| options.retry.jitter = jitter;
    /// Attempts after the first; `none`: without end.
    max_retries: Parsed<Option<u32>> => |options, Parsed(retries)| options.retry.max_retries = retries;
    /// How long an attempt may take before it is ended; `none`: as long as it takes.
    time_limit: Parsed<TimeLimit> => |options, Parsed(limit)| options.time_limit = Some(limit);
    /// How long an attempt may take before it is told to come to an end; `none`: it is not told.
    soft_time_limit: Parsed<TimeLimit> => |options, Parsed(limit)| options.soft_time_limit = Some(limit);
    /// How often it starts on each worker; `none` or `0`: as often as it can.
    rate_limit: Parsed<Option<RateLimit>> => |options, Parsed(rate)| options.rate_limit = rate;
    /// How often a message of it may be delivered that seems to bring its worker down; at least 2.
    max_deliveries: u32 => |options, most| options.max_deliveries = Some(most);
}

/// Finds the problems of overrides, each with its full key.
pub fn problems(overrides: &[TaskOverride]) -> Vec<(String, String)> {
    let found = overrides.iter().enumerate().flat_map(|(index, entry)| {
        let of_keys = problems_of(entry).into_iter();
        let of_keys = of_keys.map(move |(key, problem)| (format!("task_options[{index}].{key}"), problem));
        // Of the entry as a whole: its keys may only seem to be missing, because their values are wrong.
        let whole = entry.set_keys().is_empty().then(|| format!("entry for `{}` sets no options", entry.task));
        of_keys.chain(whole.map(|problem| (format!("task_options[{index}]"), problem)))
    });
    found.collect()
}

fn problems_of(entry: &TaskOverride) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    if entry.task.trim().is_empty() {
        problems.push(("task", "should be a task name, a glob or a /regular expression/".to_owned()));
    } else if let Err(problem) = Pattern::read(&entry.task) {
        problems.push(("task", problem));
    }
    if entry.expires.is_some_and(|expires| expires.is_zero()) {
        problems.push(("expires", "of zero would let no message start".to_owned()));
    }
    if entry.max_deliveries.is_some_and(|most| most < 2) {
        problems.push(("max_deliveries", "should be at least 2".to_owned()));
    }
    if entry.retry_jitter.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        problems.push(("retry_jitter", "should be a number from 0.0 to 1.0".to_owned()));
    }
    if let (Some(Parsed(TimeLimit::After(hard))), Some(Parsed(TimeLimit::After(soft)))) =
        (entry.time_limit, entry.soft_time_limit)
        && soft >= hard
    {
        problems.push(("soft_time_limit", "should be shorter than time_limit".to_owned()));
    }
    problems
}

/// All overrides, ready for look-ups.
#[derive(Debug, Default)]
pub struct TaskOverrides {
    overrides: Vec<(Pattern, TaskOverride)>,
    /// The merged override of each name that was asked for, so that patterns are tried once a name.
    merged: RwLock<HashMap<String, Arc<TaskOverride>>>,
}

/// Task names beyond so many are looked up anew each time, so that names made up by callers take no memory.
const MAX_CACHED: usize = 4096;

impl TaskOverrides {
    /// Compiles overrides that have no [`problems`].
    ///
    /// # Errors
    /// With the first pattern that is none.
    pub fn new(overrides: &[TaskOverride]) -> Result<Self, String> {
        let overrides = overrides.iter().map(|entry| Ok((Pattern::read(&entry.task)?, entry.clone())));
        Ok(Self { overrides: overrides.collect::<Result<_, String>>()?, merged: RwLock::default() })
    }

    /// Returns the options of a task: for each key the first entry that sets it, and otherwise the declared value.
    #[must_use]
    pub fn apply(&self, task: &str, mut declared: TaskOptions) -> TaskOptions {
        if !self.overrides.is_empty() {
            self.merged_for(task).apply(&mut declared);
        }
        declared
    }

    /// Returns the entry that sets a key of a task, as the configuration names it: `task_options[2].time_limit`.
    pub fn key_of(&self, task: &str, key: &str) -> Option<String> {
        let mut overrides = self.overrides.iter().enumerate();
        let (index, _) =
            overrides.find(|(_, (pattern, entry))| pattern.matches(task) && entry.set_keys().contains(&key))?;
        Some(format!("task_options[{index}].{key}"))
    }

    /// Returns the overrides that match none of these tasks, each with its key and a sentence.
    pub fn unmatched(&self, tasks: &[&str]) -> Vec<(String, String)> {
        let overrides = self.overrides.iter().enumerate();
        let unmatched = overrides.filter(|(_, (pattern, _))| !tasks.iter().any(|task| pattern.matches(task)));
        let told = unmatched.map(|(index, (_, TaskOverride { task, .. }))| {
            let near = nearest(task, tasks.iter().copied()).map(|near| format!(", did you mean `{near}`?"));
            let message = format!("`{task}` is none of this program's tasks{}", near.unwrap_or_default());
            (format!("task_options[{index}].task"), message)
        });
        told.collect()
    }

    fn merged_for(&self, task: &str) -> Arc<TaskOverride> {
        let known = self.merged.read().unwrap_or_else(PoisonError::into_inner).get(task).cloned();
        known.unwrap_or_else(|| self.merge_for(task))
    }

    fn merge_for(&self, task: &str) -> Arc<TaskOverride> {
        let mut sum = TaskOverride::default();
        for (_, entry) in self.overrides.iter().filter(|(pattern, _)| pattern.matches(task)) {
            sum.fill(entry);
        }
        let sum = Arc::new(sum);
        let mut merged = self.merged.write().unwrap_or_else(PoisonError::into_inner);
        if merged.len() < MAX_CACHED {
            merged.insert(task.to_owned(), Arc::clone(&sum));
        }
        sum
    }
}

/// The value of a key that belongs to the `#[task]` attribute: there is none, and the error names the attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeOnly {}

impl<'de> Deserialize<'de> for AttributeOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer)?;
        Err(de::Error::custom("belongs in `#[task(…)]`, and is not said here"))
    }
}

#[cfg(test)]
mod tests;
