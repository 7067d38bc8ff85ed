//! The state of a task.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The state of a task, by Celery's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// Sent, or not known.
    Pending,
    /// A worker has begun to run it.
    Started,
    /// Failed, and waits for its next attempt.
    Retry,
    /// Ended with a result.
    Success,
    /// Ended with an error.
    Failure,
    /// Cancelled or expired before it ran.
    Revoked,
    /// Not run: no worker could make sense of it.
    Rejected,
    /// Ended without wanting a result kept.
    Ignored,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Started,
        Self::Retry,
        Self::Success,
        Self::Failure,
        Self::Revoked,
        Self::Rejected,
        Self::Ignored,
    ];

    /// True if nothing more will happen to the task.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked | Self::Rejected | Self::Ignored)
    }

    /// Its name, as it stands in tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
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

/// A name that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task state")]
pub struct UnknownState(String);

impl FromStr for TaskState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}
