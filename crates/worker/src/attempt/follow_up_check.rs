//! Checks the whole embed of a task before the task runs.

use celeriac_protocol::Embed;

use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::reject::reject;
use crate::attempt::{Attempt, AttemptStep};

/// Admits a task whose follow-ups can be sent. Rejects any other, without follow-ups.
pub(crate) async fn check(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    if attempt.embed.is_empty() {
        return Ok(());
    }
    match Box::pin(FollowUps::check(attempt, &attempt.embed)).await {
        Ok(()) => Ok(()),
        Err(error) => {
            attempt.embed = Embed::default();
            Err(Box::pin(reject(attempt, &error.into())).await)
        }
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::headers::names;
    use celeriac_protocol::{Signature, TaskState};

    use super::*;
    use crate::attempt::decode::{find_task, read_body};
    use crate::attempt::testing::{TestWorker, follow_up};

    #[tokio::test]
    async fn follow_ups_that_can_be_sent_let_the_task_go_on() {
        let worker = TestWorker::new().await;
        let mut attempt =
            worker.deliver_changed("succeed", |call, _| call.follow.callbacks.push(follow_up("next"))).await;
        find_task(&mut attempt).await.unwrap();
        read_body(&mut attempt).await.unwrap();

        check(&mut attempt).await.unwrap();

        assert_eq!(attempt.embed.callbacks.len(), 1);
        assert!(worker.published().is_empty());
    }

    #[tokio::test]
    async fn a_task_before_a_chord_is_rejected_and_nothing_follows_from_it() {
        let worker = TestWorker::new().await;
        let chord = Signature::new("celery.chord");
        let mut attempt = worker
            .deliver_changed("succeed", |call, _| {
                call.follow.callbacks.push(chord);
                call.follow.errbacks.push(follow_up("told"));
            })
            .await;
        find_task(&mut attempt).await.unwrap();
        // The client refuses this embed, but another sender may send it, so the test sets it here.
        read_body(&mut attempt).await.unwrap();

        let ended = check(&mut attempt).await.unwrap_err();

        assert_eq!(ended.state, TaskState::Failure);
        assert!(attempt.embed.is_empty());
        let published = worker.published();
        assert_eq!(published.len(), 1, "no errback");
        assert_eq!(published[0].header(names::DEAD_REASON), Some("unsupported"));
    }
}
