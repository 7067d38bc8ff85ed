//! Carries out the decision on a task, in a safe order:
//!
//! - success: the row, then callbacks and the next step, then the reply;
//! - retry: the row, then the next attempt, then the reply. A worker that finds the row knows which
//!   of them are missing;
//! - dead letter: its message, then its row, then errbacks and the reply;
//! - failure: the row, then errbacks and the reply;
//! - replacement: its messages, then the row that tells other deliveries of them.
//!
//! The delivery is settled after all of them.

use std::time::Duration;

use celeriac_broker::Settlement;
use celeriac_protocol::{Failure, TaskHeaders, TaskState};
use celeriac_telemetry::events::worker::task::{TaskFailed, TaskRequeued, TaskRetried, TaskSucceeded};
use jiff::Timestamp;

use crate::attempt::decide::{Decision, REJECTED, retry_until};
use crate::attempt::follow_up::{FollowUpMode, after_failure, after_success, arrive, reply_retry};
use crate::attempt::outcome::{dead_letter_and_record, record_failure, record_outcome};
use crate::attempt::rebind::change_next_attempt;
use crate::attempt::refused::end_unsendable;
use crate::attempt::replace::replace;
use crate::attempt::resend::{NextAttempt, hold_requeued, send_next_attempt};
use crate::attempt::row::{RowDetails, is_kept};
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};
use crate::task::definition::TaskDefinition;
use crate::task::retry_options::RetryOptions;

/// Carries out the decision.
pub(crate) async fn apply(attempt: &mut Attempt<'_>, task: &TaskDefinition, decision: Decision) -> Processed {
    // The error of a task may repeat an argument.
    let decision = decision.map_failure(|failure| attempt.redacted.remove_from_failure(failure));
    let (Ok(processed) | Err(processed)) = match decision {
        Decision::Succeed(result) => succeed(attempt, result).await,
        Decision::Retry { wait, failure, options } => Box::pin(retry(attempt, task, wait, failure, options)).await,
        Decision::Fail(failure) => Box::pin(fail(attempt, failure)).await,
        Decision::DeadLetter { reason, failure } => Box::pin(dead_letter(attempt, reason, failure)).await,
        Decision::Ignore => ignore(attempt).await,
        Decision::Requeue { wait, reason } => Box::pin(requeue(attempt, wait, &reason)).await,
        Decision::Replace(replacement) => match Box::pin(replace(attempt, task, *replacement)).await {
            Ok(Ok(processed)) => Ok(processed),
            Ok(Err(failure)) => Box::pin(fail(attempt, failure)).await,
            Err(ended) => Err(ended),
        },
    };
    processed
}

async fn succeed(attempt: &mut Attempt<'_>, result: String) -> AttemptStep<Processed> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskSucceeded { task, id, result: &result, runtime: runtime(attempt) });
    let (recorded, followed) = match (attempt.keeps_outcome(), attempt.is_followed()) {
        (true, true) => (Some(result.clone()), Some(result)),
        (true, false) => (Some(result), None),
        (false, true) => (None, Some(result)),
        (false, false) => (None, None),
    };
    let is_kept = recorded.is_some();
    if let Some(result) = recorded {
        let details = RowDetails { result: Some(result), ..RowDetails::default() };
        record_outcome(attempt, TaskState::Success, details).await?;
    }
    let disposition = match followed {
        Some(result) => Box::pin(after_success(attempt, &result, FollowUpMode::First)).await,
        None => Disposition::Done,
    };
    if !is_kept && disposition == Disposition::Done {
        close_retries(attempt).await?;
    }
    Ok(Processed::new(disposition, TaskState::Success))
}

async fn ignore(attempt: &mut Attempt<'_>) -> AttemptStep<Processed> {
    close_retries(attempt).await?;
    let arrived = Box::pin(arrive(attempt, Err(&Failure::ignored()))).await;
    Ok(Processed::new(arrived, TaskState::Ignored))
}

/// Returns the message to its queue. A delivery that the broker has taken back comes again anyway.
async fn requeue(attempt: &mut Attempt<'_>, wait: Duration, reason: &str) -> AttemptStep<Processed> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskRequeued { task, id, retry_in: wait, error: reason });
    if attempt.is_taken_back() {
        return Ok(Disposition::Requeue.into());
    }
    Ok(hold_requeued(attempt, wait).await)
}

/// Ends the row that a state or earlier attempts of a task have left, if the result is not stored.
/// The row would otherwise keep the state `RETRY` for ever. If the message is delivered again, the
/// row also keeps the task from running again.
///
/// This comes after the follow-ups: if the worker dies before them, the row is unchanged, and the
/// task runs again.
async fn close_retries(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    if attempt.headers().retries == 0 && !attempt.is_taken_back() && !attempt.received.has_row() {
        return Ok(());
    }
    Box::pin(record_outcome(attempt, TaskState::Ignored, RowDetails::default())).await
}

async fn retry(
    attempt: &mut Attempt<'_>,
    task: &TaskDefinition,
    wait: Duration,
    failure: Failure,
    options: Option<Box<RetryOptions>>,
) -> AttemptStep<Processed> {
    attempt.settle_clock().await;
    let started_at = attempt.timing.map(|timing| timing.started_at);
    let until = retry_until(&task.options, attempt.message_headers(), started_at);
    let due = attempt.runtime.clock.now().checked_add(wait).unwrap_or(Timestamp::MAX);
    let mut next = NextAttempt::new(attempt, due, until);
    let is_changed = options.is_some();
    if let Some(options) = options
        && let Err(reason) = change_next_attempt(attempt, &mut next, *options).await?
    {
        return Ok(end_unsendable(attempt, &reason, Some(&failure)).await);
    }
    let details = RowDetails {
        eta: Some(due),
        next_attempt: Some(next.message.clone()).filter(|message| is_changed || is_kept(message)),
        next_queue: next.other_queue(attempt),
        ..RowDetails::default()
    };
    record_failure(attempt, TaskState::Retry, failure.clone(), details).await?;
    if attempt.settlement.as_ref().is_some_and(Settlement::is_void) {
        // The broker redelivers the message, and that delivery sends the next attempt.
        return Ok(Processed::failed(Disposition::Superseded, TaskState::Retry, failure));
    }
    let id = &attempt.headers().id;
    let (task, attempt_number) = (task.name, attempt.number());
    attempt.span.emit(&TaskRetried { task, id, attempt: attempt_number, failure: &failure, retry_in: wait });
    send_next_attempt(attempt, next, due, Some(&failure)).await?;
    // The next attempt sends a reply too, so a reply that fails here is not repeated.
    let _ = reply_retry(attempt, &failure).await;
    Ok(Processed::failed(Disposition::Done, TaskState::Retry, failure))
}

async fn fail(attempt: &mut Attempt<'_>, failure: Failure) -> AttemptStep<Processed> {
    let recorded = record_failure(attempt, TaskState::Failure, failure.clone(), RowDetails::default()).await;
    if recorded.is_ok() || attempt.is_taken_back() {
        tell_failure(attempt, &failure, false);
    }
    recorded?;
    let followed = after_failure(attempt, &failure, FollowUpMode::First).await;
    Ok(Processed::failed(followed, TaskState::Failure, failure))
}

async fn dead_letter(attempt: &mut Attempt<'_>, reason: &'static str, failure: Failure) -> AttemptStep<Processed> {
    tell_failure(attempt, &failure, reason == REJECTED);
    let dead_lettered = dead_letter_and_record(attempt, reason, failure.clone(), RowDetails::default()).await?;
    let followed = after_failure(attempt, &failure, FollowUpMode::First).await;
    Ok(Processed::failed(dead_lettered.and(followed), TaskState::Failure, failure))
}

fn tell_failure(attempt: &Attempt<'_>, failure: &Failure, rejected: bool) {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let (number, runtime) = (attempt.number(), runtime(attempt));
    attempt.span.emit(&TaskFailed { task, id, attempt: number, failure, rejected, runtime });
}

fn runtime(attempt: &Attempt<'_>) -> Duration {
    attempt.timing.map(|timing| timing.runtime).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::testing::{Published, QUEUE, TestWorker, follow_up, unsendable};
    use crate::task::hooks::HookList;

    /// Returns a delivery with a callback and an errback, after its task was found and its body was
    /// read.
    async fn delivered(worker: &TestWorker) -> Attempt<'_> {
        let mut attempt = worker
            .deliver_changed("act", |call, _| {
                call.follow.callbacks.push(follow_up("next"));
                call.follow.errbacks.push(follow_up("told"));
            })
            .await;
        find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        attempt
    }

    async fn completed(worker: &TestWorker, decision: Decision) -> (Processed, Vec<Published>) {
        let mut attempt = delivered(worker).await;
        let task = attempt.task.unwrap();
        let processed = apply(&mut attempt, task, decision).await;
        assert!(attempt.settlement.is_some(), "it is settled after all of it");
        (processed, worker.published())
    }

    fn failure() -> Failure {
        Failure::new("TaskError", "no")
    }

    #[tokio::test]
    async fn a_success_is_recorded_before_its_callbacks_are_sent() {
        let worker = TestWorker::new().await;
        let (processed, published) = completed(&worker, Decision::Succeed("1".to_owned())).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Success));
        let sent: Vec<_> = published.iter().map(|sent| (sent.header(names::TASK), sent.row)).collect();
        assert_eq!(sent, [(Some("next"), Some(TaskState::Success))]);
        assert_eq!(worker.row().await.unwrap().result.as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn the_reply_comes_last() {
        let worker = TestWorker::new().await;
        let mut attempt = worker
            .deliver_changed("act", |call, message| {
                call.follow.callbacks.push(follow_up("next"));
                message.properties.reply_to = Some("caller".to_owned());
            })
            .await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();

        let processed = apply(&mut attempt, task, Decision::Succeed("1".to_owned())).await;

        assert_eq!(processed.disposition, Disposition::Done);
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| (sent.routing_key.as_str(), sent.row)).collect();
        assert_eq!(sent, [(QUEUE, Some(TaskState::Success)), ("caller", Some(TaskState::Success))]);
    }

    #[tokio::test]
    async fn a_retry_is_recorded_before_the_next_attempt_is_sent() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let decision = Decision::Retry { wait: Duration::ZERO, failure: failure(), options: None };
        let (processed, published) = completed(&worker, decision).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Retry));
        let sent: Vec<_> = published.iter().map(|sent| (sent.routing_key.as_str(), sent.row)).collect();
        assert_eq!(sent, [(QUEUE, Some(TaskState::Retry))]);
        assert_eq!(worker.receive().await.headers().retries, 1);
    }

    #[tokio::test]
    async fn a_retry_that_cannot_be_sent_is_a_failure_with_a_dead_letter_and_errbacks() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let mut attempt = worker
            .deliver_changed("act", |call, message| {
                call.follow.errbacks.push(follow_up("told"));
                unsendable(call, message);
            })
            .await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();

        let decision = Decision::Retry { wait: Duration::ZERO, failure: failure(), options: None };
        let processed = apply(&mut attempt, task, decision).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| sent.header(names::DEAD_REASON)).collect();
        assert_eq!(sent, [Some("unsendable"), None], "the letter, then the errback");
        let row = worker.row().await.unwrap();
        assert_eq!((row.state, row.failure.unwrap().kind.as_str()), (TaskState::Failure, "UnsendableError"));
    }

    #[tokio::test]
    async fn an_error_that_is_cut_says_so_in_the_row_and_in_the_dead_letter() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let mut attempt = worker.deliver_changed("act", unsendable).await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        let failure = Failure::new("TaskError", "x".repeat(5_000));

        apply(&mut attempt, task, Decision::Retry { wait: Duration::ZERO, failure, options: None }).await;

        let published = worker.published();
        let letter = published[0].header(names::DEAD_ERROR).unwrap().to_owned();
        let row = worker.row().await.unwrap().failure.unwrap().message;
        assert!(letter.contains("xxx… (3,") && letter.ends_with(" bytes left out)"), "{letter}");
        assert_eq!(letter, row);
    }

    #[tokio::test]
    async fn a_dead_letter_is_sent_before_the_failure_is_recorded_and_errbacks_after_it() {
        let worker = TestWorker::new().await;
        let decision = Decision::DeadLetter { reason: "exhausted", failure: failure() };
        let (processed, published) = completed(&worker, decision).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
        let sent: Vec<_> = published
            .iter()
            .map(|sent| (sent.header(names::DEAD_REASON), sent.header(names::TASK), sent.row))
            .collect();
        assert_eq!(sent, [(Some("exhausted"), Some("act"), None), (None, Some("told"), Some(TaskState::Failure))]);
    }

    #[tokio::test]
    async fn a_failure_is_recorded_before_its_errbacks_are_sent_and_has_no_dead_letter() {
        let worker = TestWorker::new().await;
        let (processed, published) = completed(&worker, Decision::Fail(failure())).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
        let sent: Vec<_> = published.iter().map(|sent| (sent.header(names::TASK), sent.row)).collect();
        assert_eq!(sent, [(Some("told"), Some(TaskState::Failure))]);
    }

    #[tokio::test]
    async fn an_ignored_task_leaves_nothing() {
        let worker = TestWorker::new().await;
        let (processed, published) = completed(&worker, Decision::Ignore).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Ignored));
        assert!(published.is_empty());
        assert_eq!(worker.row().await, None);
    }

    #[tokio::test]
    async fn an_ignored_result_ends_the_row_that_its_retries_have_left() {
        for how in [Decision::Succeed("1".to_owned()), Decision::Ignore] {
            let worker = TestWorker::with(|options| options.ignore_result = true, HookList::default()).await;
            let mut attempt =
                worker.deliver_changed("act", |_, message| message.headers.insert(names::RETRIES, 1_i64)).await;
            worker.record_elsewhere(&mut attempt, TaskState::Retry, |row| row.attempts = 1).await;
            let task = find_task(&mut attempt).await.unwrap();

            let processed = apply(&mut attempt, task, how).await;

            assert_eq!(processed.disposition, Disposition::Done);
            let row = worker.row().await.unwrap();
            assert_eq!((row.state, row.result), (TaskState::Ignored, None));
        }
    }
}
