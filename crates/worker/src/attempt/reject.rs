//! Rejects a message that can never run here: dead-letters it and records a failure.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use celeriac_broker::{DeliveryInfo, Settlement};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Failure, Message, TaskHeaders, TaskState};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::completion::OutcomeNotRecorded;
use celeriac_telemetry::events::worker::task::{AttemptPanicked, MessageDeadLettered, TaskRejected};
use celeriac_telemetry::trace::PublishSpan;
use futures::FutureExt;
use jiff::Timestamp;

use crate::attempt::dead_letter::send_dead_letter;
use crate::attempt::follow_up::{FollowUpMode, after_failure};
use crate::attempt::outcome::dead_letter_and_record;
use crate::attempt::record::{Recording, record_row};
use crate::attempt::reject_reason::RejectReason;
use crate::attempt::row::{RowDetails, invalid_row};
use crate::attempt::{Attempt, Disposition, Processed, Step};
use crate::runtime::WorkerRuntime;
use crate::task::error::TaskError;

/// Dead-letters a message that can never run here, and records a failure.
///
/// Its follow-ups are those of a failure, as far as the attempt knows them. As in Celery, there are
/// none if the task is unknown or its embed may be the reason.
pub(crate) async fn reject(attempt: &mut Attempt<'_>, reason: &RejectReason) -> Processed {
    let (Ok(processed) | Err(processed)) = steps(attempt, reason).await;
    processed
}

async fn steps(attempt: &mut Attempt<'_>, reason: &RejectReason) -> Step<Processed> {
    attempt.release_slot();
    // The error of a decoder may repeat an argument.
    let failure = attempt.redacted.remove_from_failure(Failure::new(reason.kind(), reason.to_string()));
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskRejected { task, id, reason: reason.as_str() });
    let dead_lettered =
        dead_letter_and_record(attempt, reason.as_str(), failure.clone(), RowDetails::default()).await?;
    let told = match reason {
        // Celery builds the message of this error from the name alone.
        RejectReason::Unknown { name, .. } => Failure::new(failure.kind.clone(), name),
        _ => failure.clone(),
    };
    let followed = after_failure(attempt, &told, FollowUpMode::First).await;
    Ok(Processed::failed(dead_lettered.and(followed), TaskState::Failure, failure))
}

/// Rejects a message whose steps made the worker panic. If the rejection panics too, the broker
/// moves the message to the dead-letter queue.
pub(crate) async fn reject_panicked(attempt: &mut Attempt<'_>, panic: Box<dyn Any + Send>) -> Processed {
    let panicked = TaskError::from_panic(panic);
    let message = attempt.redacted.remove_from(&panicked.failure().message).into_owned();
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&AttemptPanicked { task, id, error: &message });
    let reason = RejectReason::Panicked { message };
    let rejected = AssertUnwindSafe(reject(attempt, &reason)).catch_unwind().await;
    rejected.unwrap_or_else(|_| Disposition::Reject.into())
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
    let sent = send_dead_letter(runtime, message.clone(), origin, word, &error, |message, info| {
        PublishSpan::again(&message.headers, info)
    });
    let disposition = sent.await;
    let (Disposition::Done, Some(id), Some(results)) = (disposition, id, &runtime.results) else { return disposition };
    let failure = Failure::new(reason.kind(), error);
    let replays = message.headers.replays();
    let task = task.unwrap_or_default();
    let row = invalid_row(runtime, origin, id.clone(), task.clone(), failure, replays, *received_at);
    // The message is already in the dead-letter queue, so a row that the store can never accept may
    // be missing.
    match record_row(results, Box::new(row)).await {
        Recording::Unwritten { error } => {
            OutcomeNotRecorded { task: &task, id: &id, error: &error }.emit();
            Disposition::Requeue
        }
        Recording::Stored | Recording::Superseded | Recording::Refused { .. } => Disposition::Done,
    }
}
