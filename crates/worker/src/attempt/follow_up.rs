//! Sends the follow-ups of a durable outcome: the tasks that follow from it, and the reply to its
//! caller.
//!
//! Each step can be repeated. If a worker dies between them, the next worker finds the outcome in
//! the store and repeats all of them.

pub(crate) mod messages;

use celeriac_protocol::{Failure, Signature, TaskState, Value};
use celeriac_telemetry::events::worker::completion::{OutcomeNotRecorded, StepNotRecorded};

use crate::attempt::dead_letter::dead_letter_not_followed_up;
use crate::attempt::follow_up::messages::{FollowUps, NotSent};
use crate::attempt::publish::disposition_after;
use crate::attempt::record::{Recording, record_row};
use crate::attempt::reply::{TaskReply, reply, reply_for_step};
use crate::attempt::row::step_row;
use crate::attempt::{Attempt, Disposition};
use crate::task::result;

/// The mode in which follow-ups are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FollowUpMode {
    First,
    Repeated,
    /// The follow-ups were committed with the outcome. They are in the outbox, or were relayed from
    /// it.
    InOutbox,
}

/// Sends the follow-ups of a success: callbacks, the next step of the chain, the reply.
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
        Ok(follow_ups) => match mode {
            FollowUpMode::InOutbox => follow_ups.into_ids().map_err(|error| NotSent::Impossible(error.to_string())),
            FollowUpMode::First | FollowUpMode::Repeated => follow_ups.send(mode == FollowUpMode::Repeated).await,
        },
        Err(error) => Err(NotSent::Impossible(error.to_string())),
    };
    let sent = match sent {
        Ok(ids) => {
            children.extend(ids);
            Disposition::Done
        }
        Err(unsent) => keep_unsent(attempt, unsent).await,
    };
    if sent == Disposition::Requeue {
        return sent;
    }
    // The reply has the result, even if the follow-ups could not be sent.
    let content = TaskReply { state: TaskState::Success, result: Some(&result), failure: None, children };
    match reply_if_awaited(attempt, &content).await {
        Disposition::Done => sent,
        disposition => disposition,
    }
}

/// Sends the follow-ups of a failure: the steps that will never run fail too, errbacks are called,
/// the reply is sent.
pub(crate) async fn after_failure(attempt: &Attempt<'_>, failure: &Failure, mode: FollowUpMode) -> Disposition {
    if attempt.embed.is_empty() && !attempt.is_awaited() {
        return Disposition::Done;
    }
    if end_steps(attempt, TaskState::Failure, failure).await == Disposition::Requeue {
        return Disposition::Requeue;
    }
    let sent = match FollowUps::after_failure(attempt, &attempt.embed) {
        Ok(follow_ups) => match follow_ups.send(mode == FollowUpMode::Repeated).await {
            Ok(_) => Disposition::Done,
            Err(unsent) => keep_unsent(attempt, unsent).await,
        },
        Err(error) => keep_for_replay(attempt, &error.to_string()).await,
    };
    if sent == Disposition::Requeue {
        return sent;
    }
    match reply_failure(attempt, TaskState::Failure, failure).await {
        Disposition::Done => sent,
        disposition => disposition,
    }
}

/// Sends the follow-ups of a task that was revoked or has expired: the steps that will never run
/// are revoked too, and the reply is sent.
///
/// Errbacks are not called, as in Celery, because nothing has failed.
pub(crate) async fn after_revoked(attempt: &Attempt<'_>, failure: &Failure) -> Disposition {
    if end_steps(attempt, TaskState::Revoked, failure).await == Disposition::Requeue {
        return Disposition::Requeue;
    }
    reply_failure(attempt, TaskState::Revoked, failure).await
}

/// Replies that the task failed, was revoked, or is tried again.
pub(crate) async fn reply_failure(attempt: &Attempt<'_>, state: TaskState, failure: &Failure) -> Disposition {
    let content = TaskReply { state, result: None, failure: Some(failure), children: attempt.children() };
    reply_if_awaited(attempt, &content).await
}

async fn reply_if_awaited(attempt: &Attempt<'_>, content: &TaskReply<'_>) -> Disposition {
    if !attempt.is_awaited() {
        return Disposition::Done;
    }
    disposition_after(&reply(attempt, content).await)
}

/// Keeps the message of a task whose follow-ups are not all sent.
async fn keep_unsent(attempt: &Attempt<'_>, unsent: NotSent) -> Disposition {
    match unsent {
        NotSent::Interrupted => Disposition::Requeue,
        NotSent::Impossible(error) => keep_for_replay(attempt, &error).await,
    }
}

/// Dead-letters the message of a finished task whose follow-ups cannot be sent. A replay sends
/// them.
pub(crate) async fn keep_for_replay(attempt: &Attempt<'_>, error: &str) -> Disposition {
    dead_letter_not_followed_up(attempt, error).await
}

/// Ends the remaining steps of the chain, because an earlier step has not succeeded.
async fn end_steps(attempt: &Attempt<'_>, state: TaskState, failure: &Failure) -> Disposition {
    for step in &attempt.embed.chain {
        if end_step(attempt, step, state, failure).await == Disposition::Requeue {
            return Disposition::Requeue;
        }
    }
    Disposition::Done
}

/// Ends a step with the state and error of the one before it.
async fn end_step(attempt: &Attempt<'_>, step: &Signature, state: TaskState, failure: &Failure) -> Disposition {
    let text = |option| step.options.get(option).and_then(Value::as_str);
    let Some(id) = text("task_id") else { return Disposition::Done };
    if let Some(results) = &attempt.runtime.results {
        let row = step_row(attempt, id.to_owned(), step.task.clone(), state, failure.clone());
        match record_row(results, Box::new(row)).await {
            Recording::Unwritten { error } => {
                attempt.span.emit(&OutcomeNotRecorded { task: &step.task, id, error: &error });
                return Disposition::Requeue;
            }
            Recording::Stored | Recording::Superseded => {}
            Recording::Refused { reason } => {
                attempt.span.emit(&StepNotRecorded { task: &step.task, id, error: &reason });
            }
        }
    }
    match text("reply_to") {
        Some(reply_to) => disposition_after(&reply_for_step(attempt, reply_to, (&step.task, id), state, failure).await),
        None => Disposition::Done,
    }
}
