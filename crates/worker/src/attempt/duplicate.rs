//! Finds the outcome of an earlier delivery, and sends its missing follow-ups.

use celeriac_protocol::headers::names;
use celeriac_protocol::{Failure, TaskHeaders, TaskState};
use celeriac_results::TaskRecord;
use celeriac_telemetry::events::worker::task::TaskSkipped;

use crate::attempt::crash::WORKER_LOST;
use crate::attempt::decide::retry_until;
use crate::attempt::embed::{read_possible_embed, read_small_embed};
use crate::attempt::follow_up::{
    FollowUpMode, after_failure, after_revoked, after_success, arrive, keep_for_replay, reply_failure,
};
use crate::attempt::replaced::find_replaced;
use crate::attempt::resend::{NextAttempt, send_next_attempt};
use crate::attempt::stored::{find_next_attempt, find_row};
use crate::attempt::stored_outcome::arrive_recorded;
use crate::attempt::{Attempt, Disposition, Interrupted};
use crate::task::definition::TaskDefinition;

/// Returns `true` if an earlier delivery of this attempt is possible.
pub(crate) fn may_be_duplicate(attempt: &Attempt<'_>) -> bool {
    let message = attempt.message_headers();
    let repeated = message.get(names::REPEATED).is_some() || message.rounds() > 0;
    attempt.received.is_redelivered() || attempt.headers().retries > 0 || repeated || message.replays() > 0
}

/// Applies the outcome that an earlier delivery of this attempt left in the store, if there is one.
pub(crate) async fn find_recorded_outcome(attempt: &mut Attempt<'_>) -> Option<Disposition> {
    let row = match find_row(attempt).await {
        Ok(row) => row,
        Err(Interrupted) => return Some(Disposition::Requeue),
    };
    if let Some(row) = row
        && let Some(done) = complete_recorded(attempt, row).await
    {
        return Some(done);
    }
    Box::pin(find_replaced(attempt)).await.unwrap_or(Some(Disposition::Requeue))
}

/// Sends the follow-ups of a row, if it is the outcome of this attempt.
pub(crate) async fn complete_recorded(attempt: &mut Attempt<'_>, row: TaskRecord) -> Option<Disposition> {
    let replays = attempt.message_headers().replays();
    if row.name != attempt.headers().task {
        // The row is that of another task with the same id.
        return None;
    }
    if row.replays < replays && !matches!(row.state, TaskState::Success | TaskState::Ignored) {
        // The row is the outcome before the replay, which is to be replaced.
        return None;
    }
    if row.replays > replays && row.state == TaskState::Retry {
        // Another copy of the message was sent since, with a higher number. It runs the attempt.
        let TaskHeaders { task, id, .. } = attempt.headers();
        attempt.span.emit(&TaskSkipped { task, id, state: row.state });
        return Some(Disposition::Superseded);
    }
    let has_ended = row.state.is_final();
    // The attempt has run. Its worker died around the time at which the next attempt was published.
    let has_run = row.state == TaskState::Retry && row.replays == replays && row.attempts > attempt.headers().retries;
    if !has_ended && !has_run {
        return None;
    }
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskSkipped { task, id, state: row.state });
    if has_ended {
        return Some(finish_recorded(attempt, row).await);
    }
    let until = attempt.task.and_then(|task| retry_until(&task.options, attempt.message_headers(), row.started_at));
    let due = row.eta.unwrap_or_else(|| attempt.runtime.clock.now());
    let mut next = NextAttempt::new(attempt, due, until);
    match find_next_attempt(attempt).await {
        // The task may have changed it.
        Ok(Some(mut message)) => {
            if replays > 0 {
                message.headers.insert(names::REPLAYED, replays);
            }
            next = NextAttempt { message, queue: row.queue };
        }
        Ok(None) => {}
        Err(Interrupted) => return Some(Disposition::Requeue),
    }
    match send_next_attempt(attempt, next, due, row.failure.as_ref()).await {
        Ok(()) => Some(Disposition::Done),
        Err(ended) => Some(ended.disposition),
    }
}

/// Sends the follow-ups of a recorded outcome again. The earlier worker may have sent any of them.
pub(crate) async fn finish_recorded(attempt: &mut Attempt<'_>, row: TaskRecord) -> Disposition {
    let is_quarantined = row.failure.as_ref().is_some_and(|failure| failure.kind == WORKER_LOST);
    let embed = match is_quarantined {
        true => Ok(Ok(Box::pin(read_small_embed(attempt)).await.unwrap_or_default())),
        false => Box::pin(read_possible_embed(attempt)).await,
    };
    match embed {
        Ok(Ok(embed)) => attempt.embed = embed,
        // The message was rejected, or its follow-ups have become invalid since. A person has to
        // decide in both cases.
        Ok(Err(reason)) => {
            let kept = keep_for_replay(attempt, &reason.to_string()).await;
            // A chord counts it all the same.
            return kept.and(arrive_recorded(attempt, &row).await);
        }
        Err(interrupted) => return interrupted.disposition,
    }
    match (row.state, row.failure) {
        (TaskState::Success, _) => {
            let in_outbox = attempt.task.is_some_and(TaskDefinition::is_transactional);
            let mode = if in_outbox { FollowUpMode::InOutbox } else { FollowUpMode::Repeated };
            after_success(attempt, row.result.as_deref().unwrap_or("null"), mode).await
        }
        (TaskState::Failure, Some(failure)) => after_failure(attempt, &failure, FollowUpMode::Repeated).await,
        (TaskState::Revoked, Some(failure)) => after_revoked(attempt, &failure).await,
        (state, Some(failure)) => match reply_failure(attempt, state, &failure).await {
            Disposition::Done => arrive(attempt, Err(&failure)).await,
            disposition => disposition,
        },
        (_, None) => arrive(attempt, Err(&Failure::ignored())).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::outcome::{record_failure, record_outcome};
    use crate::attempt::row::RowDetails;
    use crate::attempt::testing::{QUEUE, TestWorker, follow_up, redelivered, unsendable};

    #[tokio::test]
    async fn only_signs_of_an_earlier_delivery_make_a_look_into_the_store() {
        let worker = TestWorker::new().await;
        let fresh = worker.deliver("succeed").await;
        assert!(!may_be_duplicate(&fresh));
        drop(fresh);
        let again = worker.receive().await;
        assert!(may_be_duplicate(&again), "the broker says that it delivered it before");
    }

    #[tokio::test]
    async fn follow_ups_of_a_recorded_success_are_sent_again_and_say_so() {
        let worker = TestWorker::new().await;
        let mut first =
            worker.deliver_changed("succeed", |call, _| call.follow.callbacks.push(follow_up("next"))).await;
        record_outcome(
            &mut first,
            TaskState::Success,
            RowDetails { result: Some("1".to_owned()), ..RowDetails::default() },
        )
        .await
        .unwrap();
        drop(first);
        let mut again = worker.receive().await;

        let disposition = find_recorded_outcome(&mut again).await;

        assert_eq!(disposition, Some(Disposition::Done));
        let published = worker.published();
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].header(names::TASK), Some("next"));
        assert!(published[0].message.headers.get(names::REPEATED).is_some());
    }

    #[tokio::test]
    async fn a_follow_up_that_has_run_is_not_sent_again() {
        let worker = TestWorker::new().await;
        let mut attempt = worker
            .deliver_changed("succeed", |call, message| {
                call.follow.callbacks.extend(["ran", "waits"].map(|id| follow_up("next").option("task_id", id)));
                redelivered(call, message);
            })
            .await;
        worker.record_elsewhere(&mut attempt, TaskState::Success, |_| {}).await;
        for (id, state) in [("ran", TaskState::Success), ("waits", TaskState::Sent)] {
            worker
                .record_elsewhere(&mut attempt, state, |row| {
                    (row.id, row.name) = (id.to_owned(), "next".to_owned());
                })
                .await;
        }

        assert_eq!(find_recorded_outcome(&mut attempt).await, Some(Disposition::Done));
        let published = worker.published();
        let ids: Vec<_> = published.iter().map(|sent| sent.header(names::ID)).collect();
        assert_eq!(ids, [Some("waits")]);
    }

    #[tokio::test]
    async fn a_recorded_retry_whose_next_attempt_is_missing_gets_it() {
        let worker = TestWorker::retrying(std::time::Duration::ZERO, 3).await;
        let mut first = worker.deliver("fail").await;
        let details = RowDetails { begun: true, ..RowDetails::default() };
        record_failure(&mut first, TaskState::Retry, Failure::new("TaskError", "no"), details).await.unwrap();
        first.settlement.take().unwrap().ack();
        let mut again = worker.deliver_changed("fail", redelivered).await;

        let disposition = find_recorded_outcome(&mut again).await;

        assert_eq!(disposition, Some(Disposition::Done));
        let published = worker.published();
        assert_eq!((published[0].routing_key.as_str(), published.len()), (QUEUE, 1));
        let next = worker.receive().await;
        assert_eq!(next.headers().retries, 1);
    }

    #[tokio::test]
    async fn a_recorded_retry_whose_next_attempt_cannot_be_sent_is_a_failure_with_one_dead_letter() {
        let worker = TestWorker::retrying(std::time::Duration::ZERO, 3).await;
        let mut attempt = worker
            .deliver_changed("fail", |call, message| {
                call.follow.errbacks.push(follow_up("told"));
                redelivered(call, message);
                unsendable(call, message);
            })
            .await;
        worker.record_elsewhere(&mut attempt, TaskState::Retry, |_| {}).await;

        let disposition = find_recorded_outcome(&mut attempt).await;

        assert_eq!(disposition, Some(Disposition::Done));
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| (sent.header(names::DEAD_REASON), sent.row)).collect();
        assert_eq!(sent, [(Some("unsendable"), Some(TaskState::Retry)), (None, Some(TaskState::Failure))]);
        let row = worker.row().await.unwrap();
        assert_eq!((row.state, row.attempts), (TaskState::Failure, 1));
        let failure = row.failure.unwrap();
        assert_eq!(failure.kind, "UnsendableError");
        assert!(failure.message.contains("headers too large") && failure.message.contains("no"), "{failure}");
    }

    #[tokio::test]
    async fn a_copy_of_a_message_that_was_sent_again_with_a_higher_number_ends() {
        let worker = TestWorker::retrying(std::time::Duration::ZERO, 3).await;
        let next = |call: &mut _, message: &mut celeriac_protocol::Message| {
            message.headers.insert(names::RETRIES, 1_i64);
            redelivered(call, message);
        };
        let mut attempt = worker.deliver_changed("succeed", next).await;
        worker.record_elsewhere(&mut attempt, TaskState::Retry, |row| (row.attempts, row.replays) = (1, 1)).await;

        assert_eq!(find_recorded_outcome(&mut attempt).await, Some(Disposition::Superseded));
        assert!(worker.published().is_empty());

        drop(attempt);
        let mut replayed = worker
            .deliver_changed("succeed", |call, message| {
                next(call, message);
                message.headers.insert(names::REPLAYED, 1_i64);
            })
            .await;
        while replayed.message_headers().replays() == 0 {
            replayed.settlement.take().unwrap().ack();
            replayed = worker.receive().await;
        }
        assert_eq!(find_recorded_outcome(&mut replayed).await, None, "the message with the number runs");
    }

    #[tokio::test]
    async fn the_outcome_of_another_task_under_the_same_id_is_no_outcome_of_this_one() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver_changed("succeed", redelivered).await;
        worker.record_elsewhere(&mut attempt, TaskState::Success, |row| row.name = "celery.ping".to_owned()).await;
        assert_eq!(find_recorded_outcome(&mut attempt).await, None);
    }

    #[tokio::test]
    async fn without_a_row_nothing_is_known() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver_changed("succeed", redelivered).await;
        assert_eq!(find_recorded_outcome(&mut attempt).await, None);
    }
}
