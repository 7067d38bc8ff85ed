//! Records the outcome of an attempt. If the row can never be written, the message is
//! dead-lettered.

use celeriac_protocol::{Failure, TaskState};
use celeriac_results::{Recorded, TaskRecord};

use crate::attempt::dead_letter::dead_letter;
use crate::attempt::row::{RowDetails, row};
use crate::attempt::{Attempt, Disposition, Processed};
use crate::runtime::ResultStore;

/// Records a row, which is durable when this returns [`Disposition::Done`].
///
/// # Errors
/// Returns the reason if the store can never accept this row.
pub(crate) async fn record_row(results: &ResultStore, row: Box<TaskRecord>) -> Result<Disposition, String> {
    let state = row.state;
    match results.recorder.record(row).await {
        Ok(Recorded::Kept(kept)) if kept.is_final() && kept != state => Ok(Disposition::Superseded),
        // Another delivery of this attempt, or of a later one, sends the next attempt. One copy is
        // enough.
        Ok(Recorded::Kept(TaskState::Retry)) if state == TaskState::Retry => Ok(Disposition::Superseded),
        Ok(Recorded::Stored | Recorded::Kept(_)) => Ok(Disposition::Done),
        Ok(Recorded::Refused { reason }) => Err(reason),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the outcome is not recorded; the task goes back to its queue");
            Ok(Disposition::Requeue)
        }
    }
}

/// Records the outcome of an attempt, which is durable when this returns [`Disposition::Done`].
pub(crate) async fn record_outcome(attempt: &mut Attempt<'_>, state: TaskState, details: RowDetails) -> Disposition {
    let runtime = attempt.runtime;
    let Some(results) = &runtime.results else { return Disposition::Done };
    match record_row(results, Box::new(row(attempt, state, details))).await {
        Ok(disposition) => disposition,
        // The message goes to the dead-letter queue, so that a person can find it.
        Err(reason) => Box::pin(dead_letter(attempt, "unrecordable", &reason)).await,
    }
}

/// Records that an attempt has not succeeded.
pub(crate) async fn record_failure(
    attempt: &mut Attempt<'_>,
    state: TaskState,
    failure: Failure,
    details: RowDetails,
) -> Processed {
    let details = RowDetails { failure: Some(failure.clone()), ..details };
    Processed { disposition: record_outcome(attempt, state, details).await, state, failure: Some(failure) }
}

/// Dead-letters the message and then records the failure. A row of a failure therefore means that
/// its message is available for a replay.
pub(crate) async fn dead_letter_and_record(
    attempt: &mut Attempt<'_>,
    reason: &'static str,
    failure: Failure,
    details: RowDetails,
) -> Processed {
    match dead_letter(attempt, reason, &failure.to_string()).await {
        Disposition::Requeue => Disposition::Requeue.into(),
        dead_lettered => {
            let mut processed = record_failure(attempt, TaskState::Failure, failure, details).await;
            if processed.disposition == Disposition::Done {
                processed.disposition = dead_lettered;
            }
            processed
        }
    }
}
