//! Replies to the caller of a task: Celery's `rpc://`.
//!
//! The reply queue belongs to the caller, and is never declared here. If the caller has ended, the
//! reply is dropped. The row still has the outcome.

use celeriac_broker::PublishFault;
use celeriac_client::Children;
use celeriac_protocol::meta::ResultMeta;
use celeriac_protocol::retry::Backoff;
use celeriac_protocol::{Codec, Failure, TaskHeaders, TaskState, Value};
use celeriac_results::StoreClock;
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::completion::{ReplyDropped, ReplyNotSent, TaskAwaitsBroker};

use crate::attempt::Attempt;
use crate::attempt::publish::{BACKOFF, PublishFailure};
use crate::reply_message::reply_message;

/// The content of a reply.
#[derive(Debug)]
pub(crate) struct TaskReply<'a> {
    pub(crate) state: TaskState,
    /// The result of a success.
    pub(crate) result: Option<&'a Value>,
    pub(crate) failure: Option<&'a Failure>,
    /// The tasks that this one has sent, and its follow-ups.
    pub(crate) children: Children,
}

/// A reply to a queue that is not on the list of allowed ones.
#[derive(Debug, thiserror::Error)]
#[error("worker.allow_replies_to does not list the queue")]
struct ReplyNotAllowed;

/// Sends a reply, if the message names a queue for it.
///
/// # Errors
/// Returns an error if the worker stops.
pub(crate) async fn reply(attempt: &Attempt<'_>, reply: &TaskReply<'_>) -> Result<(), PublishFailure> {
    let properties = &attempt.received.message.properties;
    let Some(reply_to) = properties.reply_to.as_deref().filter(|queue| !queue.is_empty()) else { return Ok(()) };
    let TaskHeaders { task, id, parent_id, group, .. } = attempt.headers();
    // A retried task is its own parent, as in Celery.
    let meta = meta(&attempt.runtime.clock, id, reply, parent_id.clone(), group.clone());
    let correlation_id = properties.correlation_id.as_deref().unwrap_or(id);
    send_reply(attempt, task, reply_to, correlation_id, meta).await
}

/// Sends a reply for a step that will never run.
///
/// # Errors
/// Returns an error if the worker stops.
pub(crate) async fn reply_for_step(
    attempt: &Attempt<'_>,
    reply_to: &str,
    (task, id): (&str, &str),
    state: TaskState,
    failure: &Failure,
) -> Result<(), PublishFailure> {
    let reply = TaskReply { state, result: None, failure: Some(failure), children: Children::default() };
    send_reply(attempt, task, reply_to, id, meta(&attempt.runtime.clock, id, &reply, None, None)).await
}

fn meta(
    clock: &StoreClock,
    id: &str,
    reply: &TaskReply<'_>,
    parent_id: Option<String>,
    group_id: Option<String>,
) -> ResultMeta {
    ResultMeta {
        task_id: id.to_owned(),
        status: reply.state.as_str().to_owned(),
        result: reply.result.cloned().unwrap_or_default(),
        failure: reply.failure.cloned(),
        children: reply.children.to_value(),
        date_done: reply.state.is_final().then(|| clock.now()),
        parent_id,
        group_id,
    }
}

async fn send_reply(
    attempt: &Attempt<'_>,
    task: &str,
    reply_to: &str,
    correlation_id: &str,
    meta: ResultMeta,
) -> Result<(), PublishFailure> {
    let id = meta.task_id.clone();
    let dropped = |error: &(dyn std::error::Error + 'static)| {
        attempt.span.emit(&ReplyDropped { task, id: &id, queue: reply_to, error: &ErrorChain(error).to_string() });
    };
    if !attempt.runtime.allowed_replies.allows(reply_to) {
        dropped(&ReplyNotAllowed);
        return Ok(());
    }
    let body = match Codec::Json.encode_value(&meta.to_value()) {
        Ok(body) => body,
        Err(error) => {
            // Unreachable, because every value here was written as JSON before.
            dropped(&error);
            return Ok(());
        }
    };
    let outgoing = reply_message(reply_to, correlation_id, body);
    let mut backoff = Backoff::new(BACKOFF);
    loop {
        let error = match attempt.runtime.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.publish_fault(), PublishFault::Message | PublishFault::Address) => {
                dropped(&error);
                return Ok(());
            }
            Err(error) => error,
        };
        let retry_in = backoff.next_wait(fastrand::f64());
        let told = ErrorChain(&error).to_string();
        match error.publish_fault() == PublishFault::Passing && attempt.runtime.is_broker_away() {
            true => {
                let (task, id) = (Some(task), Some(id.as_str()));
                attempt.span.emit(&TaskAwaitsBroker { task, id, work: "reply", error: &told });
            }
            false => attempt.span.emit(&ReplyNotSent { task, id: &id, queue: reply_to, retry_in, error: &told }),
        }
        attempt.sleep_unless_stopping(retry_in).await?;
    }
}
