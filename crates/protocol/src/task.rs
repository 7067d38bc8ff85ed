//! Tasks: their name, arguments, result and options.

use std::fmt;
use std::time::Duration;

pub use celeriac_units::{AckMode, FieldPaths, TimeLimit, TrackedStates};
use celeriac_units::{NONE, RateLimit, format_duration, task_options};

use serde::Serialize;

use crate::arguments::{Arguments, Parameter, TaskValue};
use crate::retry::{RetryPolicy, RetryRules};

/// A task, as a sender sees it: a name, arguments and a result.
///
/// `#[task]` implements this trait. The worker crate adds the one method that runs the task.
pub trait Task: Send + Sync + 'static {
    /// The name of the task in messages.
    const NAME: &'static str;
    /// The arguments, as a tuple.
    type Args: Arguments;
    /// The type of the result.
    type Output: TaskValue + Send + 'static;

    /// Returns the parameters, in order.
    fn parameters() -> &'static [Parameter];

    /// Returns the options that were declared with the task.
    fn options() -> TaskOptions {
        TaskOptions::default()
    }
}

/// Longest name, in bytes: the limit of AMQP.
const LONGEST_NAME: usize = 255;

/// Joins a prefix and a name, which have so many bytes together.
#[doc(hidden)]
pub const fn joined_name<const LENGTH: usize>(prefix: &str, name: &str) -> [u8; LENGTH] {
    let (prefix, name) = (prefix.as_bytes(), name.as_bytes());
    let mut joined = [0; LENGTH];
    let mut index = 0;
    while index < LENGTH {
        joined[index] = if index < prefix.len() { prefix[index] } else { name[index - prefix.len()] };
        index += 1;
    }
    joined
}

/// Returns the name of a task.
///
/// # Panics
/// Panics if it is empty or too long, which is an error of the compiler where the name is constant.
#[doc(hidden)]
#[expect(clippy::panic, reason = "the compiler evaluates it")]
pub const fn task_name(name: &'static [u8]) -> &'static str {
    assert!(!name.is_empty(), "the name of the task is empty");
    assert!(name.len() <= LONGEST_NAME, "the name of the task has more than 255 bytes, the limit of AMQP");
    match std::str::from_utf8(name) {
        Ok(name) => name,
        Err(_) => panic!("the name of the task is not UTF-8"),
    }
}

/// The type of the field for a value.
macro_rules! field_type {
    (Name) => { Option<&'static str> };
    (AckMode) => { AckMode };
    (bool) => { bool };
    ($type:ident) => { Option<$type> };
}

macro_rules! task_options_struct {
    (
        attribute { $($_1:tt)* }
        declared { $($(#[$declared_doc:meta])* $declared:ident: $declared_type:ident { $($_2:tt)* })* }
        fields { $($(#[$doc:meta])* $key:ident: $type:ident { $($_3:tt)* })* }
        retries { $($_4:tt)* }
        attribute_retries { $($_5:tt)* }
    ) => {
        /// Options that are declared with a task, and apply to every call.
        #[derive(Debug, Clone, PartialEq)]
        pub struct TaskOptions {
            $($(#[$declared_doc])* pub $declared: field_type!($declared_type),)*
            $($(#[$doc])* pub $key: field_type!($type),)*
            /// The retries after a failure.
            pub retry: RetryPolicy,
            /// The errors with a retry policy of their own.
            pub retry_rules: RetryRules,
            /// Time from the start of the first attempt within which the last one must start.
            pub retry_within: Option<Duration>,
        }

        impl Default for TaskOptions {
            fn default() -> Self {
                Self {
                    $($declared: <field_type!($declared_type)>::default(),)*
                    $($key: <field_type!($type)>::default(),)*
                    retry: RetryPolicy::never(),
                    retry_rules: RetryRules::default(),
                    retry_within: None,
                }
            }
        }

        impl TaskOptions {
            /// Returns the options for people, each with its value. Retry rules are shown as their
            /// number.
            #[doc(hidden)]
            pub fn settings(&self) -> Vec<TaskSetting> {
                let default = Self::default();
                vec![
                    $(TaskSetting {
                        key: stringify!($declared),
                        value: SettingValue::from(self.$declared),
                        is_default: self.$declared == default.$declared,
                    },)*
                    TaskSetting {
                        key: "max_retries",
                        value: SettingValue::from(self.retry.max_retries),
                        is_default: self.retry.max_retries == default.retry.max_retries,
                    },
                    $(TaskSetting {
                        key: stringify!($key),
                        value: SettingValue::from(Clone::clone(&self.$key)),
                        is_default: self.$key == default.$key,
                    },)*
                ]
            }
        }
    };
}

task_options!(task_options_struct);

/// An option with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSetting {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: SettingValue,
    /// True if this is the default.
    pub is_default: bool,
}

/// The value of an option, for people and for JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SettingValue {
    /// No value.
    Unset,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u32),
    /// Text in the format of the setting.
    Text(String),
}

impl fmt::Display for SettingValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => formatter.write_str(NONE),
            Self::Flag(flag) => flag.fmt(formatter),
            Self::Number(number) => number.fmt(formatter),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

impl From<bool> for SettingValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Option<u8>> for SettingValue {
    fn from(number: Option<u8>) -> Self {
        Self::from(number.map(u32::from))
    }
}

impl From<Option<u32>> for SettingValue {
    fn from(number: Option<u32>) -> Self {
        number.map_or(Self::Unset, Self::Number)
    }
}

impl From<Option<&str>> for SettingValue {
    fn from(text: Option<&str>) -> Self {
        text.map_or(Self::Unset, |text| Self::Text(text.to_owned()))
    }
}

impl From<AckMode> for SettingValue {
    fn from(mode: AckMode) -> Self {
        Self::Text(mode.to_string())
    }
}

impl From<Option<TrackedStates>> for SettingValue {
    fn from(states: Option<TrackedStates>) -> Self {
        states.map_or(Self::Unset, |states| Self::Text(states.to_string()))
    }
}

impl From<Option<FieldPaths>> for SettingValue {
    fn from(paths: Option<FieldPaths>) -> Self {
        paths.map_or(Self::Unset, |paths| Self::Text(paths.to_string()))
    }
}

impl From<Option<Duration>> for SettingValue {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Unset, |duration| Self::Text(format_duration(duration)))
    }
}

impl From<Option<TimeLimit>> for SettingValue {
    fn from(limit: Option<TimeLimit>) -> Self {
        Self::from(limit.and_then(TimeLimit::time))
    }
}

impl From<Option<RateLimit>> for SettingValue {
    fn from(rate: Option<RateLimit>) -> Self {
        rate.map_or(Self::Unset, |rate| Self::Text(rate.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_joined_and_has_1_to_255_bytes() {
        const NAME: [u8; 11] = joined_name("shop.", "charge");
        assert_eq!(task_name(&NAME), "shop.charge");
        for (name, refused) in [(&[][..], true), (&[b'x'; 255], false), (&[b'x'; 256], true)] {
            assert_eq!(std::panic::catch_unwind(|| task_name(name)).is_err(), refused, "{} bytes", name.len());
        }
    }
}
