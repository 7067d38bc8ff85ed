//! The reasons why a message can never run here.

use celeriac_config::did_you_mean;
use celeriac_protocol::{ArgumentError, Unreadable};

use crate::attempt::follow_up::error::FollowUpError;

/// The reason why a message can never run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RejectReason {
    /// It is not a valid task.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A task that follows from it could not be started.
    #[error(transparent)]
    FollowUp(#[from] FollowUpError),
    /// It is one of Celery's own tasks, and not supported.
    #[error("task `{name}` is not supported: {reason}")]
    Unserved { name: String, reason: &'static str },
    /// This worker has no task of that name.
    #[error("no task has the name `{name}`{}", did_you_mean(.nearest.as_ref()))]
    Unknown { name: String, nearest: Option<String> },
    /// The arguments do not fit the task.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// The worker panicked while it handled the message.
    #[error("the worker panicked: {message}")]
    Panicked { message: String },
}

impl RejectReason {
    /// Returns the reason for the header of a dead letter.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::FollowUp(error) => error.reason(),
            Self::Unserved { .. } => "unsupported",
            Self::Unknown { .. } => "unknown-task",
            Self::Arguments(_) => "wrong-arguments",
            Self::Panicked { .. } => "panicked",
        }
    }

    /// Returns the kind of the recorded error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "DecodeError",
            Self::FollowUp(error) => error.kind(),
            Self::Unserved { .. } => "NotImplementedError",
            Self::Unknown { .. } => "NotRegistered",
            Self::Arguments(_) => "ArgumentError",
            Self::Panicked { .. } => "Panic",
        }
    }
}
