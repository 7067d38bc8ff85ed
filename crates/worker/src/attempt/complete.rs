//! Carries out what was decided of a task, in the order that its safety demands.
//!
//! - success: row, then callbacks and the next step, then the reply;
//! - retry: row, then the next attempt, then the reply: a worker that finds the row knows what is missing;
//! - dead letter: its message, then its row, then errbacks and the reply;
//! - failure: row, then errbacks and the reply.
//!
//! The delivery is settled after all of it.

use std::time::Duration;

use celeriac_protocol::{Failure, State, TaskHeaders};
use celeriac_telemetry::clock;
use celeriac_telemetry::events::worker::{TaskFailed, TaskRetried, TaskSucceeded};
use jiff::Timestamp;

use crate::attempt::decide::{Decision, retry_until};
use crate::attempt::follow_up::{FollowUpMode, after_failure, after_success, reply_failure};
use crate::attempt::record::{dead_letter_and_record, record_failure, record_outcome};
use crate::attempt::resend::send_next_attempt;
use crate::attempt::row::RowDetails;
use crate::attempt::{Attempt, Disposition, Processed};
use crate::task::definition::TaskDefinition;

/// Carries out what was decided.
pub(crate) async fn apply(attempt: &mut Attempt<'_>, task: &TaskDefinition, decision: Decision) -> Processed {
    match decision {
        Decision::Succeed(result) => succeed(attempt, result).await,
        Decision::Retry { wait, failure } => Box::pin(retry(attempt, task, wait, failure)).await,
        Decision::Fail(failure) => Box::pin(fail(attempt, failure)).await,
        Decision::DeadLetter { reason, failure } => Box::pin(dead_letter(attempt, reason, failure)).await,
        Decision::Ignore => Processed::new(Disposition::Done, State::Ignored),
    }
}

async fn succeed(attempt: &mut Attempt<'_>, result: String) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskSucceeded { task, id, runtime: runtime(attempt) });
    let is_followed = attempt.is_awaited() || !attempt.embed.is_empty();
    let (recorded, followed) = match (attempt.keeps_outcome(), is_followed) {
        (true, true) => (Some(result.clone()), Some(result)),
        (true, false) => (Some(result), None),
        (false, true) => (None, Some(result)),
        (false, false) => (None, None),
    };
    let disposition = match recorded {
        Some(result) => {
            let details = RowDetails { result: Some(result), ..RowDetails::default() };
            record_outcome(attempt, State::Success, details).await
        }
        None => Disposition::Done,
    };
    let processed = Processed::new(disposition, State::Success);
    match followed {
        Some(result) => Box::pin(processed.and_then(after_success(attempt, &result, FollowUpMode::First))).await,
        None => processed,
    }
}

async fn retry(attempt: &mut Attempt<'_>, task: &TaskDefinition, wait: Duration, failure: Failure) -> Processed {
    let id = &attempt.headers().id;
    let started_at = attempt.timing.map(|timing| timing.started_at);
    let until = retry_until(&task.options, attempt.message_headers(), started_at);
    let (number, error) = (attempt.number(), failure.to_string());
    attempt.span.emit(&TaskRetried { task: task.name, id, attempt: number, error: &error, wait });
    let due = clock::now().checked_add(wait).unwrap_or(Timestamp::MAX);
    let details = RowDetails { eta: Some(due), ..RowDetails::default() };
    let processed = record_failure(attempt, State::Retry, failure.clone(), details).await;
    let processed = processed.and_then(send_next_attempt(attempt, due, until)).await;
    if processed.disposition == Disposition::Done {
        // The next attempt will tell more: nothing is done again for the sake of this reply.
        let _ = reply_failure(attempt, State::Retry, &failure).await;
    }
    processed
}

async fn fail(attempt: &mut Attempt<'_>, failure: Failure) -> Processed {
    tell_failure(attempt, &failure);
    let processed = record_failure(attempt, State::Failure, failure.clone(), RowDetails::default()).await;
    processed.and_then(after_failure(attempt, &failure, FollowUpMode::First)).await
}

async fn dead_letter(attempt: &mut Attempt<'_>, reason: &'static str, failure: Failure) -> Processed {
    tell_failure(attempt, &failure);
    let processed = dead_letter_and_record(attempt, reason, failure.clone(), RowDetails::default()).await;
    processed.and_then(after_failure(attempt, &failure, FollowUpMode::First)).await
}

fn tell_failure(attempt: &Attempt<'_>, failure: &Failure) {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let (attempts, error) = (attempt.number(), failure.to_string());
    attempt.span.emit(&TaskFailed { task, id, attempts, error: &error, runtime: runtime(attempt) });
}

fn runtime(attempt: &Attempt<'_>) -> Duration {
    attempt.timing.map(|timing| timing.runtime).unwrap_or_default()
}
