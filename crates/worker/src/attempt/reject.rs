//! Rejects a message that can never run here: dead-letters it and records a failure.

use celeriac_broker::{DeliveryInfo, Settlement};
use celeriac_protocol::headers::names;
use celeriac_protocol::{ArgumentError, Failure, Message, Unreadable};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::MessageDeadLettered;
use jiff::Timestamp;

use crate::attempt::dead_letter::send_dead_letter;
use crate::attempt::follow_up::messages::FollowUpError;
use crate::attempt::follow_up::{FollowUpMode, after_failure};
use crate::attempt::record::{dead_letter_and_record, record_row};
use crate::attempt::row::{RowDetails, invalid_row};
use crate::attempt::{Attempt, Disposition, Processed};
use crate::runtime::WorkerRuntime;

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
    #[error("`{name}` is not served: {reason}")]
    Unserved { name: String, reason: &'static str },
    /// This worker has no task of that name.
    #[error("no task is named `{name}` here{}", .nearest.as_ref().map(|near| format!("; the nearest is `{near}`")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<String> },
    /// The arguments do not fit the task.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
}

impl RejectReason {
    /// Returns the reason for the header of a dead letter.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::FollowUp(_) | Self::Unserved { .. } => "unsupported",
            Self::Unknown { .. } => "unknown-task",
            Self::Arguments(_) => "wrong-arguments",
        }
    }

    /// Returns the kind of the recorded error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "DecodeError",
            Self::FollowUp(_) | Self::Unserved { .. } => "NotImplementedError",
            Self::Unknown { .. } => "NotRegistered",
            Self::Arguments(_) => "ArgumentError",
        }
    }
}

/// Dead-letters a message that can never run here, and records a failure.
///
/// Its follow-ups are those of a failure, as far as the attempt knows them. As in Celery, there are
/// none if the task is unknown or its embed may be at fault.
pub(crate) async fn reject(attempt: &mut Attempt<'_>, reason: &RejectReason) -> Processed {
    attempt.release_slot();
    let failure = Failure::new(reason.kind(), reason.to_string());
    let processed = dead_letter_and_record(attempt, reason.as_str(), failure.clone(), RowDetails::default()).await;
    let told = match reason {
        // Python builds its message from the name alone.
        RejectReason::Unknown { name, .. } => Failure::new(failure.kind, name),
        _ => failure,
    };
    processed.and_then(after_failure(attempt, &told, FollowUpMode::First)).await
}

/// A delivery with headers that are not a task's.
pub(crate) struct InvalidDelivery {
    pub(crate) message: Message,
    pub(crate) origin: DeliveryInfo,
    pub(crate) settlement: Settlement,
    pub(crate) reason: RejectReason,
    pub(crate) received_at: Timestamp,
}

/// Dead-letters a message with headers that are not a task's. Records it if it has an id.
pub(crate) async fn dead_letter_invalid(runtime: &WorkerRuntime, invalid: &InvalidDelivery) -> Disposition {
    let InvalidDelivery { message, origin, reason, received_at, .. } = invalid;
    let text =
        |name| message.headers.text(name).filter(|text| text.len() <= 255 && !text.contains('\0')).map(str::to_owned);
    let (task, id) = (text(names::TASK), text(names::ID).filter(|id| !id.is_empty()));
    let (word, error) = (reason.as_str(), reason.to_string());
    MessageDeadLettered { queue: &origin.queue, reason: word, error: &error, task: task.as_deref(), id: id.as_deref() }
        .emit();
    let disposition = send_dead_letter(runtime, message.clone(), origin, word, &error).await;
    let (Disposition::Done, Some(id), Some(results)) = (disposition, id, &runtime.results) else { return disposition };
    let failure = Failure::new(reason.kind(), error);
    let replays = message.headers.replays();
    let row = invalid_row(runtime, origin, id, task.unwrap_or_default(), failure, replays, *received_at);
    // The message is in the dead-letter queue already, so a row that the store can never accept is
    // no loss.
    record_row(results, Box::new(row)).await.unwrap_or(Disposition::Done)
}
