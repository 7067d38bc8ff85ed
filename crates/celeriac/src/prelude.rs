//! Imports of a program that defines and submits tasks.
//!
//! A module can glob-import it beside `axum`, `axum::extract`, `serde_json` and `anyhow`: the names
//! do not clash.

use std::time::Duration;

pub use crate::hooks::Hooks;
pub use crate::protocol::Signature;
pub use crate::{
    Call, Celeriac, Client, TaskContext, TaskError, TaskHandle, TaskResult, TaskState, TaskVerbs, Tasks, task, tasks,
    value,
};

/// Returns a duration of `count` seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Returns a duration of `count` minutes.
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// Returns a duration of `count` hours.
pub const fn hours(count: u64) -> Duration {
    Duration::from_secs(3_600 * count)
}
