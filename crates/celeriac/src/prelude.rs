//! Imports of a program that defines and sends tasks.

use std::time::Duration;

pub use crate::{
    Call, Celeriac, Chain, Client, Hooks, Signature, TaskContext, TaskError, TaskHandle, TaskResult, TaskState, task,
    tasks,
};

/// So many seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many minutes.
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// So many hours.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(3_600 * count)
}
