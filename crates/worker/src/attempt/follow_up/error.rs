//! The reasons why follow-ups are not sent.

use crate::allowed::NotAllowed;
use crate::follow_up_size::OverLimit;

/// The reason why a signature of the embed cannot be started after its task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FollowUpError {
    /// Its kind is not supported.
    #[error("follow-up `{task}` cannot be sent: {reason}")]
    Unsupported { task: String, reason: &'static str },
    /// It is invalid and cannot be sent.
    #[error("follow-up `{task}` cannot be sent: {reason}")]
    Invalid { task: String, reason: String },
    /// Its queue is not on the list of allowed ones.
    #[error("follow-up `{task}` cannot be sent: {error}")]
    NotAllowed { task: String, error: NotAllowed },
    /// There are too many, or they are too large.
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
}

impl FollowUpError {
    /// Returns the reason for the header of a dead letter.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } | Self::Invalid { .. } => "unsupported",
            Self::NotAllowed { .. } => NotAllowed::REASON,
            Self::OverLimit(_) => OverLimit::REASON,
        }
    }

    /// Returns the kind of the recorded error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } | Self::Invalid { .. } => "NotImplementedError",
            Self::NotAllowed { .. } => NotAllowed::KIND,
            Self::OverLimit(_) => OverLimit::KIND,
        }
    }
}

/// The reason why follow-ups are not sent.
pub(crate) enum NotSent {
    /// The worker stops.
    Interrupted,
    /// One of them can never be sent, for this reason.
    Impossible(String),
}
