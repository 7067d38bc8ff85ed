//! `task_options` of the configuration: overrides of task options.

use std::sync::Arc;
use std::time::Duration;

use celeriac_config::{Parsed, did_you_mean, nearest};
use celeriac_protocol::{RetryPolicy, TaskOptions};
use celeriac_units::{AckMode, DurationRange, FieldPaths, RateLimit, TimeLimit, TrackedStates, task_options};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::pattern::{Pattern, PatternTable};

/// The type of a value of the configuration.
macro_rules! config_type {
    (u8) => { u8 };
    (u32) => { u32 };
    (f64) => { f64 };
    (bool) => { bool };
    (RateLimit) => { Parsed<Option<RateLimit>> };
    (Retries) => { Parsed<Option<u32>> };
    (FieldPaths) => { RedactedPaths };
    ($type:ident) => { Parsed<$type> };
}

/// Converts a value of the configuration to a field of `TaskOptions`.
macro_rules! field_value {
    (u8, $value:expr) => {
        Some($value)
    };
    (u32, $value:expr) => {
        Some($value)
    };
    (bool, $value:expr) => {
        $value
    };
    (AckMode, $value:expr) => {
        $value.0
    };
    (RateLimit, $value:expr) => {
        $value.0
    };
    ($type:ident, $value:expr) => {
        Some($value.0)
    };
}

/// Returns the value of the configuration without its wrapper.
macro_rules! plain_value {
    (u8, $value:expr) => {
        $value
    };
    (u32, $value:expr) => {
        $value
    };
    (f64, $value:expr) => {
        $value
    };
    (bool, $value:expr) => {
        $value
    };
    ($type:ident, $value:expr) => {
        $value.0
    };
}

macro_rules! task_override {
    (
        attribute { $($_1:tt)* }
        declared { $($_2:tt)* }
        fields { $(
            $(#[$_3:meta])* $field:ident: $type:ident {
                attribute: $_4:literal, meaning: $_5:literal, default: $_6:literal,
                config: $_7:literal, $meaning:literal,
                $(valid: $valid:expr, $complaint:literal,)?
            }
        )* }
        retries { $(
            $(#[$_8:meta])* $retry:ident: $retry_type:ident {
                attribute: $_9:literal, meaning: $_10:literal, default: $_11:literal,
                config: $_12:literal, $retry_meaning:literal,
                $(valid: $retry_valid:expr, $retry_complaint:literal,)?
            }
        )* }
        attribute_retries { $($_13:tt)* }
    ) => {
        /// An entry of `task_options`. A key that it does not set is set by later entries, or else
        /// by the task.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct TaskOverride {
            /// The tasks: a whole name, a glob (`*` any text, `?` any character), or a
            /// `/regular expression/` for the whole name.
            pub task: String,
            $(
                #[doc = $meaning]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<config_type!($type)>,
            )*
            $(
                #[doc = $retry_meaning]
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $retry: Option<config_type!($retry_type)>,
            )*
            /// Belongs to the `#[task]` attribute; always refused here.
            #[serde(default, skip_serializing)]
            pub retry_on: Option<AttributeOnly>,
            /// Belongs to the `#[task]` attribute; always refused here.
            #[serde(default, skip_serializing)]
            pub retry_within: Option<AttributeOnly>,
        }

        impl TaskOverride {
            /// Fills in the keys of a later entry that this one does not set.
            fn fill(&mut self, later: &Self) {
                $(self.$field = self.$field.take().or_else(|| Clone::clone(&later.$field));)*
                $(self.$retry = self.$retry.or(later.$retry);)*
            }

            /// Applies each key that it sets.
            fn apply(&self, options: &mut TaskOptions) {
                $(if let Some(value) = Clone::clone(&self.$field) {
                    options.$field = field_value!($type, value);
                })*
                $(if let Some(value) = self.$retry {
                    retries::$retry(&mut options.retry, plain_value!($retry_type, value));
                })*
            }

            /// Returns the keys that it sets.
            fn set_keys(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(keys.extend(self.$field.is_some().then_some(stringify!($field)));)*
                $(keys.extend(self.$retry.is_some().then_some(stringify!($retry)));)*
                keys
            }

            /// Returns the keys with invalid values, each with the message.
            fn invalid_values(&self) -> Vec<(&'static str, &'static str)> {
                let mut invalid = Vec::new();
                $($(if let Some(value) = Clone::clone(&self.$field) {
                    let valid: fn(&$type) -> bool = $valid;
                    if !valid(&plain_value!($type, value)) {
                        invalid.push((stringify!($field), $complaint));
                    }
                })?)*
                $($(if let Some(value) = self.$retry {
                    let valid: fn(&$retry_type) -> bool = $retry_valid;
                    if !valid(&plain_value!($retry_type, value)) {
                        invalid.push((stringify!($retry), $retry_complaint));
                    }
                })?)*
                invalid
            }
        }
    };
}

task_options!(task_override);

/// The effect of each key of retries on the retry policy.
mod retries {
    use super::{DurationRange, RetryPolicy};

    pub(super) fn retry_backoff(policy: &mut RetryPolicy, range: DurationRange) {
        let backoff = RetryPolicy::backoff(range.first, range.cap);
        if policy.max_retries == Some(0) {
            policy.max_retries = backoff.max_retries;
        }
        (policy.first, policy.cap) = (backoff.first, backoff.cap);
    }

    pub(super) fn retry_jitter(policy: &mut RetryPolicy, share: f64) {
        policy.jitter = share;
    }

    pub(super) fn max_retries(policy: &mut RetryPolicy, times: Option<u32>) {
        policy.max_retries = times;
    }
}

/// Returns the problems of overrides, each with its full key.
pub fn problems(overrides: &[TaskOverride]) -> Vec<(String, String)> {
    let found = overrides.iter().enumerate().flat_map(|(index, entry)| {
        let of_keys = problems_of(entry).into_iter();
        let of_keys = of_keys.map(move |(key, problem)| (format!("task_options[{index}].{key}"), problem));
        // The problem has the key of the entry, because its keys may only seem to be missing: a key
        // with an invalid value counts as absent.
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
    problems.extend(entry.invalid_values().into_iter().map(|(key, complaint)| (key, complaint.to_owned())));
    if let (Some(Parsed(TimeLimit::After(hard))), Some(Parsed(TimeLimit::After(soft)))) =
        (entry.time_limit, entry.soft_time_limit)
        && soft >= hard
    {
        problems.push(("soft_time_limit", "should be shorter than time_limit".to_owned()));
    }
    problems
}

/// All overrides, compiled.
#[derive(Debug, Default)]
pub struct TaskOverrides {
    overrides: Vec<TaskOverride>,
    /// The patterns of the overrides, with the merged override of each task.
    patterns: PatternTable<Arc<TaskOverride>>,
}

impl TaskOverrides {
    /// Compiles overrides that have no [`problems`].
    ///
    /// # Errors
    /// Returns the first pattern that is invalid.
    pub fn new(overrides: &[TaskOverride]) -> Result<Self, String> {
        let patterns = overrides.iter().map(|entry| Pattern::read(&entry.task)).collect::<Result<_, _>>()?;
        Ok(Self { overrides: overrides.to_vec(), patterns: PatternTable::new(patterns) })
    }

    /// Returns the options of a task. For each key, the first entry that sets it wins, then the
    /// declared value.
    #[must_use]
    pub fn apply(&self, task: &str, mut declared: TaskOptions) -> TaskOptions {
        if !self.overrides.is_empty() {
            self.patterns.get(task, |places| self.merge(places)).apply(&mut declared);
        }
        declared
    }

    fn merge(&self, places: &mut dyn Iterator<Item = usize>) -> Arc<TaskOverride> {
        let mut merged = TaskOverride::default();
        for place in places {
            merged.fill(&self.overrides[place]);
        }
        Arc::new(merged)
    }

    /// Returns the key of the entry that sets an option of a task: `task_options[2].time_limit`.
    pub fn key_of(&self, task: &str, key: &str) -> Option<String> {
        let index = self.patterns.matches(task).find(|index| self.overrides[*index].set_keys().contains(&key))?;
        Some(format!("task_options[{index}].{key}"))
    }

    /// Returns the overrides that match none of these tasks, each with its key and a message.
    pub fn unmatched(&self, tasks: &[&str]) -> Vec<(String, String)> {
        let overrides = self.overrides.iter().zip(self.patterns.patterns()).enumerate();
        let unmatched = overrides.filter(|(_, (_, pattern))| !tasks.iter().any(|task| pattern.matches(task)));
        let told = unmatched.map(|(index, (TaskOverride { task, .. }, _))| {
            let near = did_you_mean(nearest(task, tasks.iter().copied()));
            let message = format!("`{task}` matches no task of this program{near}");
            (format!("task_options[{index}].task"), message)
        });
        told.collect()
    }
}

/// The value of `redact`: a list of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedactedPaths(pub FieldPaths);

impl Serialize for RedactedPaths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for RedactedPaths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let paths = Vec::<String>::deserialize(deserializer)?;
        FieldPaths::new(paths).map(Self).map_err(de::Error::custom)
    }
}

/// The value of a key that belongs to the `#[task]` attribute. It has no values: reading one is an
/// error that names the attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeOnly {}

impl<'de> Deserialize<'de> for AttributeOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        de::IgnoredAny::deserialize(deserializer)?;
        Err(de::Error::custom("belongs in `#[task(…)]`; remove it here"))
    }
}

#[cfg(test)]
mod tests;
