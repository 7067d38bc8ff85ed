//! Revoked tasks: prevents a start, and ends a running task if it is terminated.

use celeriac_protocol::failure::RevokeReason;
use celeriac_protocol::{Failure, TaskHeaders, TaskState};
use celeriac_results::RunningTask;
use celeriac_telemetry::events::worker::task::{TaskRevoked, TaskTerminated};

use crate::attempt::embed::read_possible_embed;
use crate::attempt::follow_up::after_revoked;
use crate::attempt::outcome::record_failure;
use crate::attempt::row::RowDetails;
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};

/// Returns `true` if this process knows a revocation of the task. [`check_not_revoked`] finds newer
/// ones.
pub(crate) fn is_revoked(attempt: &Attempt<'_>) -> bool {
    if attempt.runtime.revoked_stamps.include(&attempt.headers().stamps) {
        return true;
    }
    let results = attempt.runtime.results.as_ref();
    results.is_some_and(|results| results.backend.revocation_cache().find_revoked(&attempt.headers().id).is_some())
}

/// Starts the task, unless it is revoked. Without a store no task can be revoked.
pub(crate) async fn check_not_revoked(attempt: &mut Attempt<'_>) -> AttemptStep<Option<RunningTask>> {
    if attempt.runtime.revoked_stamps.include(&attempt.headers().stamps) {
        return Err(Box::pin(revoke(attempt)).await);
    }
    let Some(results) = &attempt.runtime.results else { return Ok(None) };
    let begun = tokio::select! {
        biased;
        begun = results.backend.revocation_cache().start_task(&attempt.headers().id) => begun,
        () = attempt.runtime.interrupt().cancelled() => return Err(Disposition::Requeue.into()),
    };
    match begun {
        Ok(begun) => Ok(Some(begun)),
        Err(_) => Err(Box::pin(revoke(attempt)).await),
    }
}

/// Ends a task that has not started.
pub(crate) async fn revoke(attempt: &mut Attempt<'_>) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskRevoked { task, id });
    end_revoked(attempt, RevokeReason::Revoked).await
}

/// Ends a task that has run.
pub(crate) async fn terminate(attempt: &mut Attempt<'_>) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskTerminated { task, id });
    end_revoked(attempt, RevokeReason::Terminated).await
}

/// Records the end of a revoked task, and ends the later steps of its chain.
pub(crate) async fn end_revoked(attempt: &mut Attempt<'_>, reason: RevokeReason) -> Processed {
    let failure = Failure::revoked(reason);
    if let Err(processed) = record_failure(attempt, TaskState::Revoked, failure.clone(), RowDetails::default()).await {
        return processed;
    }
    attempt.embed = match Box::pin(read_possible_embed(attempt)).await {
        Ok(embed) => embed.unwrap_or_default(),
        Err(interrupted) => return interrupted,
    };
    let followed = after_revoked(attempt, &failure).await;
    Processed::failed(followed, TaskState::Revoked, failure)
}

#[cfg(test)]
mod tests {
    use celeriac_results::RevokeOptions;

    use super::*;
    use crate::attempt::testing::{ID, TestWorker};

    const ONCE: RevokeOptions = RevokeOptions { terminate: false, lasts: None };

    #[tokio::test]
    async fn a_task_that_is_not_revoked_begins() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver("succeed").await;
        assert!(check_not_revoked(&mut attempt).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_revoked_task_does_not_begin_and_its_row_says_so() {
        let worker = TestWorker::new().await;
        worker.backend.revoke(&[ID.to_owned()], ONCE).await.unwrap();
        let mut attempt = worker.deliver("succeed").await;

        let ended = check_not_revoked(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Revoked));
        assert_eq!(worker.row().await.unwrap().failure.unwrap().message, "revoked");
        assert!(is_revoked(&attempt), "from now on it is known");
    }

    #[tokio::test]
    async fn a_running_task_is_told_when_it_is_terminated() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver("hang").await;
        let running = check_not_revoked(&mut attempt).await.unwrap().unwrap();

        worker.backend.revoke(&[ID.to_owned()], RevokeOptions { terminate: true, lasts: None }).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), running.terminated().cancelled()).await.unwrap();
        let ended = terminate(&mut attempt).await;

        assert_eq!(ended.state, TaskState::Revoked);
        assert_eq!(worker.row().await.unwrap().failure.unwrap().message, "terminated");
    }
}
