//! Follow-ups, once the outcome of a task is safe: tasks that follow from it are sent, and whoever awaits it gets a reply.
//!
//! All of it can be done a second time. When a worker dies in the middle, the next finds the outcome in the store and does
//! it all again.

pub(crate) mod messages;

use celeriac_protocol::{Failure, Signature, State, Value};

use crate::attempt::dead_letter::dead_letter_not_followed_up;
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::publish::{PublishFailure, disposition_after};
use crate::attempt::record::record_row;
use crate::attempt::reply::{TaskReply, reply, reply_for_step};
use crate::attempt::row::step_row;
use crate::attempt::{Attempt, Disposition};
use crate::task::result;

/// The way in which follow-ups are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FollowUpMode {
    First,
    Repeated,
    /// They were committed together with the outcome: they stand in the outbox, or were sent from there.
    InOutbox,
}

/// After a success: callbacks, the next step of the chain, the reply.
pub(crate) async fn after_success(attempt: &Attempt<'_>, result: &str, mode: FollowUpMode) -> Disposition {
    if attempt.embed.is_empty() && !attempt.is_awaited() {
        return Disposition::Done;
    }
    let result = match result::read(result) {
        Ok(result) => result,
        Err(error) => return keep_for_replay(attempt, &error.to_string()).await,
    };
    let mut children = attempt.children();
    let sent = match FollowUps::after_success(attempt, &attempt.embed, &result) {
        Ok(follow_ups) => {
            children.extend(follow_ups.ids().map(str::to_owned));
            match mode {
                FollowUpMode::InOutbox => Disposition::Done,
                FollowUpMode::First | FollowUpMode::Repeated => send(attempt, follow_ups, mode).await,
            }
        }
        Err(error) => keep_for_replay(attempt, &error.to_string()).await,
    };
    if sent == Disposition::Requeue {
        return sent;
    }
    // The result is there, whatever became of what should follow from it.
    let content = TaskReply { state: State::Success, result: Some(&result), failure: None, children };
    match reply_if_awaited(attempt, &content).await {
        Disposition::Done => sent,
        disposition => disposition,
    }
}

/// After a failure: the steps that will never run have failed too, errbacks are called, the reply is sent.
pub(crate) async fn after_failure(attempt: &Attempt<'_>, failure: &Failure, mode: FollowUpMode) -> Disposition {
    if attempt.embed.is_empty() && !attempt.is_awaited() {
        return Disposition::Done;
    }
    if end_steps(attempt, State::Failure, failure).await == Disposition::Requeue {
        return Disposition::Requeue;
    }
    let sent = match FollowUps::after_failure(attempt, &attempt.embed) {
        Ok(follow_ups) => send(attempt, follow_ups, mode).await,
        Err(error) => keep_for_replay(attempt, &error.to_string()).await,
    };
    if sent == Disposition::Requeue {
        return sent;
    }
    match reply_failure(attempt, State::Failure, failure).await {
        Disposition::Done => sent,
        disposition => disposition,
    }
}

/// After a task that was revoked or has expired: the steps that will never run are revoked too, the reply is sent.
/// Errbacks are not called, as with Celery: nothing has failed.
pub(crate) async fn after_revoked(attempt: &Attempt<'_>, failure: &Failure) -> Disposition {
    if end_steps(attempt, State::Revoked, failure).await == Disposition::Requeue {
        return Disposition::Requeue;
    }
    reply_failure(attempt, State::Revoked, failure).await
}

/// Tells whoever awaits the task that it did not succeed: that it failed, was revoked, or is tried again.
pub(crate) async fn reply_failure(attempt: &Attempt<'_>, state: State, failure: &Failure) -> Disposition {
    let content = TaskReply { state, result: None, failure: Some(failure), children: attempt.children() };
    reply_if_awaited(attempt, &content).await
}

async fn reply_if_awaited(attempt: &Attempt<'_>, content: &TaskReply<'_>) -> Disposition {
    if !attempt.is_awaited() {
        return Disposition::Done;
    }
    disposition_after(reply(attempt, content).await)
}

async fn send(attempt: &Attempt<'_>, follow_ups: FollowUps, mode: FollowUpMode) -> Disposition {
    match follow_ups.send(attempt, mode == FollowUpMode::Repeated).await {
        Ok(()) => Disposition::Done,
        Err((PublishFailure::Interrupted, _)) => Disposition::Requeue,
        Err((PublishFailure::Impossible, task)) => {
            let error = format!("`{task}` should follow from it, and there is no queue where it was to go");
            keep_for_replay(attempt, &error).await
        }
    }
}

/// The task is done and stays so, but not what follows from it: its message is kept where a person finds it, and does
/// that much when it is replayed.
pub(crate) async fn keep_for_replay(attempt: &Attempt<'_>, error: &str) -> Disposition {
    dead_letter_not_followed_up(attempt, error).await
}

/// Ends the steps of the chain that will never run, since one before them has not succeeded.
async fn end_steps(attempt: &Attempt<'_>, state: State, failure: &Failure) -> Disposition {
    for step in &attempt.embed.chain {
        if end_step(attempt, step, state, failure).await == Disposition::Requeue {
            return Disposition::Requeue;
        }
    }
    Disposition::Done
}

/// Ends a step as the one before it did, with the same error.
async fn end_step(attempt: &Attempt<'_>, step: &Signature, state: State, failure: &Failure) -> Disposition {
    let text = |option| step.options.get(option).and_then(Value::as_str);
    let Some(id) = text("task_id") else { return Disposition::Done };
    if let Some(results) = &attempt.runtime.results {
        let row = step_row(attempt, id.to_owned(), step.task.clone(), state, failure.clone());
        match record_row(results, Box::new(row)).await {
            Ok(Disposition::Requeue) => return Disposition::Requeue,
            Ok(_) => {}
            Err(reason) => tracing::warn!(id, reason, "the end of a later step cannot be recorded"),
        }
    }
    match text("reply_to") {
        Some(reply_to) => disposition_after(reply_for_step(attempt, reply_to, id, state, failure).await),
        None => Disposition::Done,
    }
}
