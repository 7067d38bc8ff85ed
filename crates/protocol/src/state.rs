//! The state of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The state of a task, by Celery's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// Unknown, or sent where this is not tracked.
    Pending,
    /// The message is on a queue, and no worker has started the task.
    Sent,
    /// A worker has started the task.
    Started,
    /// The task failed, and waits for its next attempt.
    Retry,
    /// The task ended with a result.
    Success,
    /// The task ended with an error.
    Failure,
    /// The task was cancelled, or expired before it ran.
    Revoked,
    /// The task never ran, because no worker could read it.
    Rejected,
    /// The task ended and requested that no result be stored.
    Ignored,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Sent,
        Self::Started,
        Self::Retry,
        Self::Success,
        Self::Failure,
        Self::Revoked,
        Self::Rejected,
        Self::Ignored,
    ];

    /// Returns `true` if the state never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked | Self::Rejected | Self::Ignored)
    }

    /// Returns the name in tables and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Sent => "SENT",
            Self::Started => "STARTED",
            Self::Retry => "RETRY",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Revoked => "REVOKED",
            Self::Rejected => "REJECTED",
            Self::Ignored => "IGNORED",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A name that is not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task state")]
pub struct UnknownState(String);

impl FromStr for TaskState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}
