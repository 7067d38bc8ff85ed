//! Decides if a task may start now, from its headers and the store. The body is not read.

use std::time::Duration;

use celeriac_protocol::TaskHeaders;
use celeriac_protocol::failure::RevokeReason;
use celeriac_telemetry::events::worker::task::TaskExpired;

use crate::attempt::duplicate::{find_recorded_outcome, may_be_duplicate};
use crate::attempt::resend::hold_until_due;
use crate::attempt::revocation::{end_revoked, is_revoked, revoke};
use crate::attempt::{Attempt, AttemptStep, Processed};
use crate::hold::SHORTEST_HOLD;

/// Admits a task that has no outcome yet, has not expired, is not known to be revoked, and is due.
pub(crate) async fn check(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    // Checked first, because a recorded outcome needs its follow-ups even if the task has expired
    // or was revoked since.
    if may_be_duplicate(attempt)
        && let Some(disposition) = Box::pin(find_recorded_outcome(attempt)).await
    {
        return Err(disposition.into());
    }
    if attempt.headers().eta.is_some() || attempt.headers().expires.is_some() {
        attempt.settle_clock().await;
    }
    if has_expired(attempt) {
        return Err(Box::pin(expire(attempt)).await);
    }
    if is_revoked(attempt) {
        return Err(Box::pin(revoke(attempt)).await);
    }
    match time_until_due(attempt) {
        None => Ok(()),
        Some(wait) => Box::pin(wait_until_due(attempt, wait)).await,
    }
}

fn has_expired(attempt: &Attempt<'_>) -> bool {
    attempt.headers().expires.is_some_and(|expires| expires <= attempt.runtime.clock.now())
}

async fn expire(attempt: &mut Attempt<'_>) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskExpired { task, id });
    end_revoked(attempt, RevokeReason::Expired).await
}

fn time_until_due(attempt: &Attempt<'_>) -> Option<Duration> {
    attempt.headers().eta.map(|eta| attempt.runtime.clock.time_until(eta)).filter(|wait| !wait.is_zero())
}

async fn wait_until_due(attempt: &mut Attempt<'_>, wait: Duration) -> AttemptStep<()> {
    attempt.release_slot();
    if wait >= SHORTEST_HOLD {
        // A sender without the delay ladder, such as Celery on a classic queue, does not delay the
        // message, so the worker does.
        return Err(hold_until_due(attempt, wait).await);
    }
    attempt.sleep_unless_stopping(wait).await?;
    Ok(attempt.take_slot().await?)
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::TaskState;
    use celeriac_protocol::headers::names;
    use celeriac_telemetry::clock;

    use super::*;
    use crate::attempt::Disposition;
    use crate::attempt::outcome::record_outcome;
    use crate::attempt::row::RowDetails;
    use crate::attempt::testing::{ID, QUEUE, TestWorker, follow_up, redelivered, unsendable};

    /// Returns a time this many milliseconds from now, in the format of a header.
    fn in_millis(millis: i64) -> String {
        clock::now().checked_add(jiff::SignedDuration::from_millis(millis)).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_fresh_task_that_is_due_goes_on_with_its_slot() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver("succeed").await;

        check(&mut attempt).await.unwrap();

        assert!(attempt.slot.is_some());
        assert!(worker.published().is_empty());
        assert_eq!(worker.row().await, None);
    }

    #[tokio::test]
    async fn an_expired_task_is_revoked() {
        let worker = TestWorker::new().await;
        let expired = in_millis(-1_000);
        let mut attempt = worker
            .deliver_changed("succeed", |_, message| {
                message.headers.insert(names::EXPIRES, expired);
            })
            .await;

        let ended = check(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Revoked));
        let row = worker.row().await.unwrap();
        assert_eq!((row.state, row.failure.unwrap().message.as_str()), (TaskState::Revoked, "expired"));
    }

    #[tokio::test]
    async fn what_follows_from_a_success_is_sent_although_the_task_has_expired_since() {
        let worker = TestWorker::new().await;
        let expired = in_millis(-1_000);
        let mut attempt = worker
            .deliver_changed("succeed", |call, message| {
                redelivered(call, message);
                call.follow.callbacks.push(follow_up("next"));
                message.headers.insert(names::EXPIRES, expired);
            })
            .await;
        worker.record_elsewhere(&mut attempt, TaskState::Success, |_| {}).await;

        let ended = check(&mut attempt).await.unwrap_err();

        assert_eq!(ended.disposition, Disposition::Done);
        let sent: Vec<_> = worker.published().iter().map(|sent| sent.header(names::TASK).map(str::to_owned)).collect();
        assert_eq!(sent, [Some("next".to_owned())]);
        assert_eq!(worker.row().await.unwrap().state, TaskState::Success);
    }

    #[tokio::test]
    async fn a_task_that_comes_a_second_too_early_waits_on_the_broker() {
        let worker = TestWorker::new().await;
        let due = in_millis(5_000);
        let mut attempt = worker
            .deliver_changed("succeed", |_, message| {
                message.headers.insert(names::ETA, due);
            })
            .await;

        let ended = check(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Pending));
        let published = worker.published();
        assert_eq!(published.len(), 1);
        assert!(!published[0].exchange.is_empty(), "it goes to a delay level");
        assert!(attempt.slot.is_none());
        assert_eq!(worker.depth(QUEUE).await, 0);
    }

    #[tokio::test]
    async fn a_task_that_comes_too_early_and_cannot_be_sent_for_later_is_a_failure_with_a_dead_letter() {
        let worker = TestWorker::new().await;
        let due = in_millis(5_000);
        let mut attempt = worker
            .deliver_changed("succeed", |call, message| {
                call.follow.errbacks.push(follow_up("told"));
                message.headers.insert(names::ETA, due);
                unsendable(call, message);
            })
            .await;

        let ended = check(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Failure));
        let published = worker.published();
        let sent: Vec<_> = published.iter().map(|sent| sent.header(names::DEAD_REASON)).collect();
        assert_eq!(sent, [Some("unsendable"), None]);
        assert_eq!(worker.row().await.unwrap().attempts, 0);
    }

    #[tokio::test]
    async fn a_task_that_comes_a_moment_too_early_waits_here_and_has_a_slot_then() {
        let worker = TestWorker::new().await;
        let due = in_millis(60);
        let mut attempt = worker
            .deliver_changed("succeed", |_, message| {
                message.headers.insert(names::ETA, due);
            })
            .await;

        check(&mut attempt).await.unwrap();

        assert!(time_until_due(&attempt).is_none());
        assert!(attempt.slot.is_some());
        assert!(worker.published().is_empty());
    }

    #[tokio::test]
    async fn a_stop_sends_back_a_task_that_waits_for_its_time() {
        let worker = TestWorker::new().await;
        let due = in_millis(900);
        let mut attempt = worker
            .deliver_changed("succeed", |_, message| {
                message.headers.insert(names::ETA, due);
            })
            .await;
        worker.interrupt();

        let ended = check(&mut attempt).await.unwrap_err();

        assert_eq!(ended.disposition, Disposition::Requeue);
    }

    #[tokio::test]
    async fn a_task_that_has_ended_before_does_not_run_again() {
        let worker = TestWorker::new().await;
        let mut first = worker.deliver("succeed").await;
        record_outcome(&mut first, TaskState::Success, RowDetails::default()).await.unwrap();
        first.settlement.take().unwrap().ack();
        let mut again = worker.deliver_changed("succeed", redelivered).await;

        let ended = check(&mut again).await.unwrap_err();

        assert_eq!(ended.disposition, Disposition::Done);
        assert_eq!(worker.backend.find(ID).await.unwrap().unwrap().state, TaskState::Success);
    }
}
