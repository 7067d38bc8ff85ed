//! What a task is called, takes and returns.

use std::time::Duration;

use celeriac_units::RateLimit;
pub use celeriac_units::{AckMode, TimeLimit};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arguments::{Arguments, Parameter};
use crate::retry::{RetryPolicy, RetryRules};

/// A task, as a sender sees it: a name, arguments and a result.
///
/// `#[task]` writes this implementation; the worker crate adds the one method that runs the task.
pub trait Task: Send + Sync + 'static {
    /// The name under which messages ask for it.
    const NAME: &'static str;
    /// Its arguments, as a tuple.
    type Args: Arguments;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Its parameters, in order.
    fn parameters() -> &'static [Parameter];

    /// What was declared beside it.
    fn options() -> TaskOptions {
        TaskOptions::default()
    }
}

/// What is declared with a task, and holds for every call of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOptions {
    /// The queue it goes to when no route says otherwise.
    pub queue: Option<&'static str>,
    /// Its priority when the call does not say.
    pub priority: Option<u8>,
    /// When a failed attempt is followed by another.
    pub retry: RetryPolicy,
    /// Which errors are tried again in another way.
    pub retry_rules: RetryRules,
    /// How long after the start of the first attempt the last one may begin.
    pub retry_within: Option<Duration>,
    /// When its messages are acknowledged.
    pub acks: AckMode,
    /// Whether its result is not worth storing.
    pub ignore_result: bool,
    /// How long a message of it may wait before it must not start any more.
    pub expires: Option<Duration>,
    /// How long an attempt may take before it is ended. `None`: as the worker says.
    pub time_limit: Option<TimeLimit>,
    /// How long an attempt may take before it is told to come to an end. `None`: as the worker says.
    pub soft_time_limit: Option<TimeLimit>,
    /// How often it starts on one worker.
    pub rate_limit: Option<RateLimit>,
    /// How often a message of it may be delivered that seems to bring its worker down; at least 2.
    pub max_deliveries: Option<u32>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            queue: None,
            priority: None,
            retry: RetryPolicy::never(),
            retry_rules: RetryRules::default(),
            retry_within: None,
            acks: AckMode::Late,
            ignore_result: false,
            expires: None,
            time_limit: None,
            soft_time_limit: None,
            rate_limit: None,
            max_deliveries: None,
        }
    }
}
