//! Rejects a message that can never run here: dead-letters it and records a failure.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use celeriac_broker::{DeliveryInfo, Settlement};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Failure, Message, TaskHeaders, TaskState, Value};
use celeriac_results::{Arrival, JoinMember, Turn, is_id};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::completion::OutcomeNotRecorded;
use celeriac_telemetry::events::worker::task::{AttemptPanicked, MessageDeadLettered, TaskRejected};
use celeriac_telemetry::trace::PublishSpan;
use futures::FutureExt;
use jiff::Timestamp;

use crate::attempt::dead_letter::send_dead_letter;
use crate::attempt::end_chord;
use crate::attempt::follow_up::{FollowUpMode, after_failure};
use crate::attempt::outcome::dead_letter_and_record;
use crate::attempt::publish::{Recipient, disposition_after, publish_until_confirmed};
use crate::attempt::record::{Recording, record_row};
use crate::attempt::reject_reason::RejectReason;
use crate::attempt::row::{RowDetails, invalid_row};
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};
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

async fn steps(attempt: &mut Attempt<'_>, reason: &RejectReason) -> AttemptStep<Processed> {
    attempt.release_slot();
    // The error of a decoder may repeat an argument.
    let failure = attempt.redacted.remove_from_failure(Failure::new(reason.kind(), reason.to_string()));
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskRejected { task, id, reason: reason.as_str(), failure: &failure });
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
    let disposition = match sent.await {
        Disposition::Done => count_invalid(runtime, invalid, &Failure::new(reason.kind(), error.as_str())).await,
        disposition => disposition,
    };
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
        Recording::Stored | Recording::Repeated | Recording::Superseded | Recording::Refused { .. } => {
            Disposition::Done
        }
    }
}

/// Counts the end of a member of a chord whose headers are not a task's. Nothing can follow from
/// its own delivery, so a message ends the chord if it was the last one.
async fn count_invalid(runtime: &WorkerRuntime, invalid: &InvalidDelivery, failure: &Failure) -> Disposition {
    let InvalidDelivery { message: Message { headers, .. }, origin, .. } = invalid;
    let index = headers.get(names::GROUP_INDEX).and_then(Value::as_i64);
    let (Some(results), Some(join), Some(index)) = (&runtime.results, headers.text(names::JOIN), index) else {
        return Disposition::Done;
    };
    let member = JoinMember { join: join.to_owned(), index };
    let task = headers.text(names::ID).filter(|id| is_id(id)).unwrap_or_default().to_owned();
    let arrival = Arrival { member: member.clone(), task, outcome: Err(failure.clone()) };
    match results.joins.arrive(arrival).await {
        Ok(Turn::Fire { .. }) => match end_chord::message(&runtime.environment.client, &member, &origin.queue) {
            Ok(outgoing) => disposition_after(&publish_until_confirmed(runtime, outgoing, Recipient::SameQueue).await),
            Err(_) => Disposition::Done,
        },
        Ok(Turn::Done | Turn::Unknown) => Disposition::Done,
        Err(_) => Disposition::Requeue,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::attempt::process::process_delivery;
    use crate::attempt::testing::{QUEUE, TestWorker, member};

    #[tokio::test]
    async fn a_member_whose_headers_cannot_be_read_ends_its_chord_by_a_message_of_its_own() {
        let worker = TestWorker::new().await;
        worker.add_chord().await;
        worker
            .send("succeed", |call, message| {
                member(call, message);
                message.headers.insert(names::RETRIES, "many");
            })
            .await;
        for _ in 0..2 {
            let delivery = worker.take(QUEUE).await;
            process_delivery(Arc::clone(&worker.runtime), delivery, worker.slot().await).await;
        }

        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| sent.header(names::TASK)).collect();
        assert_eq!(sent, [Some("act"), Some("celeriac.end_chord")], "its letter, and what ends the chord");
        let row = worker.backend.find("body").await.unwrap().unwrap();
        assert_eq!((row.state, row.failure.unwrap().kind.as_str()), (TaskState::Failure, "ChordError"));
    }
}
