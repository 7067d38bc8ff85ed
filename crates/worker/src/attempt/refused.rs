//! Ends an attempt whose message or row the broker or the store can never accept.

use celeriac_protocol::{Failure, TaskHeaders, TaskState, shorten};
use celeriac_telemetry::events::worker::completion::{FailureNotRecorded, OutcomeNotRecorded};

use crate::attempt::dead_letter::dead_letter;
use crate::attempt::follow_up::{FollowUpMode, after_failure};
use crate::attempt::record::{Recording, record_row, tell_recorded};
use crate::attempt::row::{RowDetails, row};
use crate::attempt::stored_outcome::arrive_superseded;
use crate::attempt::{Attempt, Disposition, Processed};

/// The reason of the dead letter of a message that can never be published again.
pub(crate) const UNSENDABLE: &str = "unsendable";

/// The longest text of the error in the row of such an attempt, in bytes.
const LONGEST_REASON: usize = 2_000;

/// Ends an attempt whose outcome the store can never accept, such as a result that is too large.
pub(crate) async fn end_unrecordable(attempt: &mut Attempt<'_>, reason: &str) -> Processed {
    // The arguments may be the part that the store refuses.
    attempt.arguments = None;
    end_refused(attempt, "unrecordable", "UnrecordableError", reason, RowDetails::default()).await
}

/// Ends an attempt whose message can never be published again, neither as the next attempt nor for
/// later, such as one with headers that are too large. `cause` is the error of the attempt, if it
/// has run.
pub(crate) async fn end_unsendable(attempt: &mut Attempt<'_>, reason: &str, cause: Option<&Failure>) -> Processed {
    let reason = match cause {
        Some(cause) => format!("the next attempt cannot be sent: {reason}; this one: {cause}"),
        None => format!("the message cannot be sent again: {reason}"),
    };
    let details = RowDetails { begun: cause.is_some(), ..RowDetails::default() };
    end_refused(attempt, UNSENDABLE, "UnsendableError", &reason, details).await
}

/// Dead-letters the message, records a failure with the reason, and sends its follow-ups.
async fn end_refused(
    attempt: &mut Attempt<'_>,
    word: &'static str,
    kind: &'static str,
    reason: &str,
    details: RowDetails,
) -> Processed {
    let failure = Failure::new(kind, shorten(reason, LONGEST_REASON));
    let dead_lettered = dead_letter(attempt, word, &failure.message).await;
    if dead_lettered == Disposition::Requeue {
        return Disposition::Requeue.into();
    }
    let details = RowDetails { failure: Some(failure.clone()), ..details };
    let row = row(attempt, TaskState::Failure, details);
    if let Some(results) = &attempt.runtime.results {
        let recording = record_row(results, Box::new(row)).await;
        tell_recorded(attempt, TaskState::Failure, &recording);
        match recording {
            Recording::Stored | Recording::Repeated | Recording::Superseded if attempt.is_taken_back() => {
                return Processed::failed(Disposition::Superseded, TaskState::Failure, failure);
            }
            Recording::Stored | Recording::Repeated => {}
            Recording::Unwritten { error } => {
                let TaskHeaders { task, id, .. } = attempt.headers();
                attempt.span.emit(&OutcomeNotRecorded { task, id, error: &error });
                return Disposition::Requeue.into();
            }
            Recording::Superseded => {
                let counted = arrive_superseded(attempt, &failure).await;
                return Processed::failed(dead_lettered.and(counted), TaskState::Failure, failure);
            }
            Recording::Refused { reason } => {
                let TaskHeaders { task, id, .. } = attempt.headers();
                attempt.span.emit(&FailureNotRecorded { task, id, error: &reason });
            }
        }
    }
    let followed = after_failure(attempt, &failure, FollowUpMode::First).await;
    Processed::failed(dead_lettered.and(followed), TaskState::Failure, failure)
}
