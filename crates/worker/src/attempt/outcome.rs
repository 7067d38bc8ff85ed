//! Records the outcome of an attempt, and decides which delivery sends its follow-ups.
//!
//! It is the delivery that the broker still counts as unsettled. If another delivery of the task
//! has recorded an outcome, the unsettled one sends the follow-ups of that outcome, because the
//! other may have died before it sent them. A delivery that the broker has taken back sends none,
//! because the message is redelivered.

use celeriac_protocol::{Failure, TaskHeaders, TaskState};
use celeriac_telemetry::events::worker::completion::OutcomeNotRecorded;

use crate::attempt::dead_letter::dead_letter;
use crate::attempt::duplicate::{complete_recorded, may_be_duplicate};
use crate::attempt::follow_up::arrive;
use crate::attempt::record::{Recording, record_row, tell_recorded};
use crate::attempt::refused::end_unrecordable;
use crate::attempt::row::{RowDetails, row};
use crate::attempt::stored::find_row;
use crate::attempt::stored_outcome::arrive_recorded;
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};

/// Records the outcome of an attempt. It is durable when this returns. The caller has to send its
/// follow-ups.
///
/// # Errors
/// Returns the end of the attempt if another outcome is recorded, if another delivery sends the
/// follow-ups of this one, if the store can never accept it, or if the worker stops.
pub(crate) async fn record_outcome(
    attempt: &mut Attempt<'_>,
    state: TaskState,
    details: RowDetails,
) -> AttemptStep<()> {
    record(attempt, state, details, None).await
}

/// Records an outcome, after the message was dead-lettered or not.
async fn record(
    attempt: &mut Attempt<'_>,
    state: TaskState,
    details: RowDetails,
    dead_lettered: Option<Disposition>,
) -> AttemptStep<()> {
    let runtime = attempt.runtime;
    let Some(results) = &runtime.results else { return Ok(()) };
    let failure = details.failure.clone();
    // Only a chord needs the result of a task whose row is another's.
    let result = details.result.clone().filter(|_| attempt.member().is_some());
    let row = Box::new(row(attempt, state, details));
    let counts = row.member.is_some();
    let recording = record_row(results, row).await;
    tell_recorded(attempt, state, &recording);
    match recording {
        Recording::Stored | Recording::Repeated if attempt.is_taken_back() => {
            Err(Processed { failure, ..Processed::new(Disposition::Superseded, state) })
        }
        Recording::Stored => {
            attempt.is_counted |= counts;
            Ok(())
        }
        Recording::Repeated => Ok(()),
        Recording::Unwritten { error } => Err(requeue_unwritten(attempt, &error)),
        Recording::Superseded => Err(Box::pin(end_superseded(attempt, state, (result, failure), dead_lettered)).await),
        Recording::Refused { reason } => Err(Box::pin(end_unrecordable(attempt, &reason)).await),
    }
}

/// Records that an attempt has not succeeded.
///
/// # Errors
/// As [`record_outcome`].
pub(crate) async fn record_failure(
    attempt: &mut Attempt<'_>,
    state: TaskState,
    failure: Failure,
    details: RowDetails,
) -> AttemptStep<()> {
    record_outcome(attempt, state, RowDetails { failure: Some(failure), ..details }).await
}

/// Dead-letters the message and then records the failure, so that the message of every recorded
/// failure can be replayed. Returns the disposition of the delivery so far.
///
/// # Errors
/// As [`record_outcome`].
pub(crate) async fn dead_letter_and_record(
    attempt: &mut Attempt<'_>,
    reason: &'static str,
    failure: Failure,
    details: RowDetails,
) -> AttemptStep<Disposition> {
    match dead_letter(attempt, reason, &failure.to_string()).await {
        Disposition::Requeue => Err(Disposition::Requeue.into()),
        dead_lettered => {
            let details = RowDetails { failure: Some(failure), ..details };
            record(attempt, TaskState::Failure, details, Some(dead_lettered)).await?;
            Ok(dead_lettered)
        }
    }
}

/// Ends an attempt whose outcome is not recorded because the worker stops.
fn requeue_unwritten(attempt: &Attempt<'_>, error: &str) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&OutcomeNotRecorded { task, id, error });
    Disposition::Requeue.into()
}

/// Ends an attempt whose outcome was not recorded, because another one was recorded before.
async fn end_superseded(
    attempt: &mut Attempt<'_>,
    state: TaskState,
    (result, failure): (Option<String>, Option<Failure>),
    dead_lettered: Option<Disposition>,
) -> Processed {
    if attempt.is_taken_back() {
        // The broker delivers the message again, and that delivery sends the follow-ups of the
        // recorded outcome.
        return Processed { failure, ..Processed::new(Disposition::Superseded, state) };
    }
    let row = match find_row(attempt).await {
        Ok(Some(row)) => row,
        // The row was deleted since. The next delivery runs the task again.
        Ok(None) => return Disposition::Requeue.into(),
        Err(interrupted) => return interrupted.into(),
    };
    let is_other = row.name != attempt.headers().task;
    if is_other || !may_be_duplicate(attempt) {
        let has_failed = matches!(state, TaskState::Failure | TaskState::Retry) && (is_other || row.state.is_final());
        let disposition = match (dead_lettered, failure.as_ref().filter(|_| has_failed)) {
            // The message is in the dead-letter queue already, with the reason of its failure.
            (Some(dead_lettered), _) => dead_lettered,
            (None, Some(failure)) => dead_letter_reused(attempt, row.state, failure).await,
            // The message is a second copy, of a sender that does not mark repeats. The first copy
            // has the outcome.
            (None, None) => Disposition::Superseded,
        };
        // A chord counts the message, which has the only row that this id will ever have.
        let counted = match (is_other, &failure, &result) {
            (false, ..) => arrive_recorded(attempt, &row).await,
            (true, Some(failure), _) => arrive(attempt, Err(failure)).await,
            (true, None, Some(result)) => arrive(attempt, Ok(result)).await,
            (true, None, None) => arrive(attempt, Err(&Failure::ignored())).await,
        };
        let disposition = disposition.and(counted);
        return Processed { failure, ..Processed::new(disposition, state) };
    }
    // A row without an outcome of this attempt belongs to a later replay, which has its own
    // message.
    let disposition = complete_recorded(attempt, row).await.unwrap_or(Disposition::Superseded);
    Processed { failure, ..Processed::new(disposition, state) }
}

/// Dead-letters a failed message whose id has the outcome of an earlier message.
async fn dead_letter_reused(attempt: &Attempt<'_>, recorded: TaskState, failure: &Failure) -> Disposition {
    let TaskHeaders { id, .. } = attempt.headers();
    let reason = format!("id `{id}` already has the outcome {recorded} of an earlier message; this one: {failure}");
    dead_letter(attempt, "id-reused", &reason).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::complete;
    use crate::attempt::decide::Decision;
    use crate::attempt::decode::{find_task, read_body};
    use celeriac_results::TaskRecord;

    use crate::attempt::testing::{Published, QUEUE, TestWorker, follow_up, member, redelivered};
    use crate::task::hooks::HookList;

    fn failed() -> Decision {
        Decision::Fail(Failure::new("TaskError", "no"))
    }

    fn retried() -> Decision {
        Decision::Retry { wait: Duration::ZERO, failure: Failure::new("TaskError", "no"), options: None }
    }

    /// Delivers a task with a callback and an errback, for the first time or again. While it runs,
    /// another worker records `state`. Then it ends with `decision`.
    async fn overtaken(
        worker: &TestWorker,
        again: bool,
        state: TaskState,
        decision: Decision,
    ) -> (Processed, Vec<Published>) {
        let mut attempt = worker
            .deliver_changed("act", |call, message| {
                call.follow.callbacks.push(follow_up("next"));
                call.follow.errbacks.push(follow_up("told"));
                if again {
                    redelivered(call, message);
                }
            })
            .await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        worker.record_elsewhere(&mut attempt, state, |_| {}).await;

        let processed = complete::apply(&mut attempt, task, decision).await;

        attempt.settlement.take().unwrap().ack();
        (processed, worker.published())
    }

    fn tasks(published: &[Published]) -> Vec<Option<&str>> {
        published.iter().map(|sent| sent.header(names::TASK)).collect()
    }

    #[tokio::test]
    async fn the_live_delivery_sends_the_next_attempt_that_another_worker_has_recorded() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;

        let (processed, published) = overtaken(&worker, true, TaskState::Retry, retried()).await;

        assert_eq!(processed.disposition, Disposition::Done);
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].routing_key, QUEUE);
        assert_eq!(worker.receive().await.headers().retries, 1);
    }

    #[tokio::test]
    async fn the_live_delivery_sends_the_follow_ups_of_a_success_that_another_worker_has_recorded() {
        for decision in [failed(), retried()] {
            let worker = TestWorker::retrying(Duration::ZERO, 3).await;

            let (processed, published) = overtaken(&worker, true, TaskState::Success, decision).await;

            assert_eq!(processed.disposition, Disposition::Done);
            assert_eq!(tasks(&published), [Some("next")]);
            assert_eq!(worker.row().await.unwrap().state, TaskState::Success);
        }
    }

    #[tokio::test]
    async fn a_message_that_fails_under_the_id_of_an_earlier_one_is_dead_lettered() {
        for decision in [failed(), retried()] {
            let worker = TestWorker::retrying(Duration::ZERO, 3).await;

            let (processed, published) = overtaken(&worker, false, TaskState::Success, decision).await;

            assert_eq!(processed.disposition, Disposition::Done);
            assert_eq!(published.len(), 1);
            assert_eq!(published[0].header(names::DEAD_REASON), Some("id-reused"));
            assert_eq!(worker.row().await.unwrap().state, TaskState::Success);
        }
    }

    #[tokio::test]
    async fn a_message_that_is_dead_lettered_under_the_id_of_an_earlier_one_has_one_letter() {
        for (again, state) in [(false, TaskState::Success), (true, TaskState::Success), (false, TaskState::Failure)] {
            let worker = TestWorker::new().await;
            let decision = Decision::DeadLetter { reason: "rejected", failure: Failure::new("TaskError", "not today") };

            let (processed, published) = overtaken(&worker, again, state, decision).await;

            assert_eq!(processed.disposition, Disposition::Done);
            let letters: Vec<_> = published.iter().filter_map(|sent| sent.header(names::DEAD_REASON)).collect();
            assert_eq!(letters, ["rejected"], "{again} {state}");
            assert_eq!(worker.row().await.unwrap().state, state);
        }
    }

    #[tokio::test]
    async fn a_chord_counts_a_member_whose_id_has_the_outcome_of_an_earlier_message() {
        let name = |row: &mut TaskRecord| row.name = "other".to_owned();
        let same = |_: &mut TaskRecord| {};
        let changes: [fn(&mut TaskRecord); 2] = [name, same];
        for (change, decision, sent) in [
            (changes[0], failed(), [Some("act"), None]),
            (changes[1], failed(), [Some("act"), Some("body")]),
            (changes[0], Decision::Succeed("1".to_owned()), [Some("body"), None]),
        ] {
            let worker = TestWorker::new().await;
            let mut attempt = worker.deliver_changed("act", member).await;
            worker
                .record_elsewhere(&mut attempt, TaskState::Success, |row| {
                    change(row);
                    row.member = None;
                })
                .await;
            worker.add_chord().await;
            let task = find_task(&mut attempt).await.unwrap();

            let processed = complete::apply(&mut attempt, task, decision).await;

            let told: Vec<_> = sent.into_iter().flatten().map(Some).collect();
            assert_eq!(tasks(&worker.published()), told);
            assert_ne!(processed.disposition, Disposition::Requeue);
            let fired = worker.backend.find_fired("chord", 100).await.unwrap();
            assert!(fired.is_some(), "its only member has ended");
        }
    }

    #[tokio::test]
    async fn one_of_two_copies_without_a_mark_has_no_next_attempt_of_its_own() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;

        let (processed, published) = overtaken(&worker, false, TaskState::Retry, retried()).await;

        assert_eq!(processed.disposition, Disposition::Superseded);
        assert!(published.is_empty());
    }

    #[tokio::test]
    async fn an_attempt_that_a_later_replay_has_overtaken_ends() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let mut attempt = worker.deliver_changed("act", redelivered).await;
        let task = find_task(&mut attempt).await.unwrap();
        worker.record_elsewhere(&mut attempt, TaskState::Retry, |row| row.replays = 1).await;

        let processed = complete::apply(&mut attempt, task, retried()).await;

        assert_eq!(processed.disposition, Disposition::Superseded);
        assert!(worker.published().is_empty(), "the next attempt is the replay's");
    }

    #[tokio::test]
    async fn a_retry_that_cannot_be_recorded_is_a_failure_and_has_no_next_attempt() {
        let worker = TestWorker::retrying(Duration::ZERO, 3).await;
        let mut attempt = worker.deliver_changed("act", |call, _| call.follow.errbacks.push(follow_up("told"))).await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        let failure = Failure::new("TaskError", "x".repeat(65 << 20));

        let processed =
            complete::apply(&mut attempt, task, Decision::Retry { wait: Duration::ZERO, failure, options: None }).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
        let published = worker.published();
        assert_eq!(tasks(&published), [Some("act"), Some("told")]);
        assert_eq!(published[0].header(names::DEAD_REASON), Some("unrecordable"));
        let failure = worker.row().await.unwrap().failure.unwrap();
        assert_eq!(failure.kind, "UnrecordableError");
        assert!(failure.message.contains("64 MiB"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_result_that_cannot_be_recorded_is_a_failure_for_everybody_who_awaits_it() {
        let worker = TestWorker::with(|_| {}, HookList::default()).await;
        let mut attempt =
            worker.deliver_changed("act", |_, message| message.properties.reply_to = Some("caller".to_owned())).await;
        let task = find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();
        let result = format!("\"{}\"", "x".repeat(65 << 20));

        let processed = complete::apply(&mut attempt, task, Decision::Succeed(result)).await;

        assert_eq!((processed.disposition, processed.state), (Disposition::Done, TaskState::Failure));
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| sent.routing_key.as_str()).collect();
        assert_eq!(sent, ["celeriac.dead", "caller"]);
        assert_eq!(worker.row().await.unwrap().state, TaskState::Failure);
    }

    #[tokio::test]
    async fn a_chord_counts_a_member_whose_outcome_can_never_be_recorded_beside_another_one() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver_changed("act", member).await;
        worker.record_elsewhere(&mut attempt, TaskState::Success, |_| {}).await;
        worker.add_chord().await;

        let processed = end_unrecordable(&mut attempt, "it is too large").await;

        assert_eq!(processed.disposition, Disposition::Done);
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| sent.header(names::DEAD_REASON)).collect();
        assert_eq!(sent, [Some("unrecordable"), None], "its letter, then the body");
        assert_eq!(published[1].header(names::ID), Some("body"));
    }
}
