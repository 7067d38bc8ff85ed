//! Sends the follow-ups of a durable outcome: the tasks that follow from it, and the reply to its
//! caller. Counts the end of a member of a chord. One member fires the chord: its delivery sends
//! the body.
//!
//! Each step can be repeated. If a worker dies between them, the next worker finds the outcome in
//! the store and repeats all of them. A member counts once, and the member that fires the chord is
//! told so again.

mod canvas;
pub(crate) mod error;
pub(crate) mod messages;

use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Codec, DecodeLimits, Failure, Signature, TaskState, Value};
use celeriac_results::{Arrival, JoinMember, JoinResults, Turn};
use celeriac_telemetry::events::worker::completion::{OutcomeNotRecorded, StepNotRecorded};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::attempt::dead_letter::dead_letter_not_followed_up;
use crate::attempt::follow_up::canvas::ends;
use crate::attempt::follow_up::error::{FollowUpError, NotSent};
use crate::attempt::follow_up::messages::FollowUps;
use crate::attempt::joins::find_fired;
use crate::attempt::publish::disposition_after;
use crate::attempt::record::{Recording, record_row};
use crate::attempt::reply::{TaskReply, reply, reply_for_step};
use crate::attempt::row::step_row;
use crate::attempt::{Attempt, Disposition, Interrupted};
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

/// Sends the follow-ups of a success: callbacks, the next step of the chain, the reply, and the
/// body of a chord whose last member it is.
pub(crate) async fn after_success(attempt: &Attempt<'_>, text: &str, mode: FollowUpMode) -> Disposition {
    if !attempt.is_followed() {
        return Disposition::Done;
    }
    let result = match result::read(text) {
        Ok(result) => result,
        Err(error) => {
            let kept = keep_for_replay(attempt, &error.to_string()).await;
            return kept.and(arrive(attempt, Ok(text)).await);
        }
    };
    let mut children = attempt.children();
    let sent = match FollowUps::after_success(attempt, &attempt.embed, &result) {
        Ok(follow_ups) => match mode {
            FollowUpMode::InOutbox => {
                follow_ups.into_children().map_err(|error| NotSent::Impossible(error.to_string()))
            }
            FollowUpMode::First | FollowUpMode::Repeated => follow_ups.send(mode == FollowUpMode::Repeated).await,
        },
        Err(error) => Err(NotSent::Impossible(error.to_string())),
    };
    let sent = match sent {
        Ok(sent) => {
            children.append(sent);
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
        // The caller hears of a member before it hears of the body.
        Disposition::Done => sent.and(arrive(attempt, Ok(text)).await),
        disposition => disposition,
    }
}

/// Sends the follow-ups of a failure: the steps that will never run fail too, errbacks are called,
/// the reply is sent, and a chord counts its member.
pub(crate) async fn after_failure(attempt: &Attempt<'_>, failure: &Failure, mode: FollowUpMode) -> Disposition {
    if !attempt.is_followed() {
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
        Disposition::Done => sent.and(arrive(attempt, Err(failure)).await),
        disposition => disposition,
    }
}

/// Sends the follow-ups of a task that was revoked or has expired: the steps that will never run
/// are revoked too, the reply is sent, and a chord counts its member.
///
/// Errbacks are not called, as in Celery, because nothing has failed.
pub(crate) async fn after_revoked(attempt: &Attempt<'_>, failure: &Failure) -> Disposition {
    if end_steps(attempt, TaskState::Revoked, failure).await == Disposition::Requeue {
        return Disposition::Requeue;
    }
    match reply_failure(attempt, TaskState::Revoked, failure).await {
        Disposition::Done => arrive(attempt, Err(failure)).await,
        disposition => disposition,
    }
}

/// Replies that the task is tried again. As in Celery, the next attempt is its child.
pub(crate) async fn reply_retry(attempt: &Attempt<'_>, failure: &Failure) -> Disposition {
    let mut children = attempt.children();
    children.add_task(attempt.headers().id.clone());
    reply_if_awaited(attempt, &TaskReply { state: TaskState::Retry, result: None, failure: Some(failure), children })
        .await
}

/// Replies that the task failed or was revoked.
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

/// Ends a step with the state and error of the one before it. A chord ends with its body.
async fn end_step(attempt: &Attempt<'_>, step: &Signature, state: TaskState, failure: &Failure) -> Disposition {
    if step.kind() != SignatureKind::Chord {
        return end_task(attempt, step, state, failure).await;
    }
    for task in &ends(step) {
        if end_task(attempt, task, state, failure).await == Disposition::Requeue {
            return Disposition::Requeue;
        }
    }
    Disposition::Done
}

async fn end_task(attempt: &Attempt<'_>, step: &Signature, state: TaskState, failure: &Failure) -> Disposition {
    let text = |option| step.options.get(option).and_then(Value::as_str);
    let Some(id) = text("task_id") else { return Disposition::Done };
    if let Some(results) = &attempt.runtime.results {
        let row = step_row(attempt, id.to_owned(), step.task.clone(), state, failure.clone());
        match record_row(results, Box::new(row)).await {
            Recording::Unwritten { error } => {
                attempt.span.emit(&OutcomeNotRecorded { task: &step.task, id, error: &error });
                return Disposition::Requeue;
            }
            Recording::Stored | Recording::Repeated | Recording::Superseded => {}
            Recording::Refused { reason } => {
                attempt.span.emit(&StepNotRecorded { task: &step.task, id, error: &reason });
            }
        }
    }
    let replied = match text("reply_to") {
        Some(reply_to) => disposition_after(&reply_for_step(attempt, reply_to, (&step.task, id), state, failure).await),
        None => Disposition::Done,
    };
    match replied {
        Disposition::Done => arrive_for_step(attempt, step, failure).await,
        disposition => disposition,
    }
}

/// Celery's exception for the body of a chord that has failed.
const CHORD_ERROR: &str = "ChordError";

/// Counts the end of a task, if it is a member of a chord.
pub(crate) async fn arrive(attempt: &Attempt<'_>, outcome: Result<&str, &Failure>) -> Disposition {
    match attempt.member() {
        None => Disposition::Done,
        Some(member) if attempt.is_counted => look(attempt, member).await,
        Some(member) => {
            let outcome = outcome.map(str::to_owned).map_err(Failure::clone);
            let task = attempt.headers().id.clone();
            arrive_as(attempt, Arrival { member, task, outcome }).await
        }
    }
}

/// Counts the end of a step that will never run, if it is a member of a chord.
async fn arrive_for_step(attempt: &Attempt<'_>, step: &Signature, failure: &Failure) -> Disposition {
    let join = step.options.get("chord").and_then(Signature::join_in);
    let index = step.options.get("group_index").and_then(Value::as_i64);
    match (join, index, step.task_id()) {
        (Some(join), Some(index), Some(task)) => {
            let member = JoinMember { join: join.to_owned(), index };
            arrive_as(attempt, Arrival { member, task: task.to_owned(), outcome: Err(failure.clone()) }).await
        }
        _ => Disposition::Done,
    }
}

async fn arrive_as(attempt: &Attempt<'_>, arrival: Arrival) -> Disposition {
    let Some(results) = &attempt.runtime.results else { return Disposition::Done };
    let join = arrival.member.join.clone();
    let turn = results.joins.arrive(arrival).await;
    take_turn(attempt, join, turn).await
}

/// Looks for what a member has to do whose end was recorded with its row.
async fn look(attempt: &Attempt<'_>, member: JoinMember) -> Disposition {
    let Some(results) = &attempt.runtime.results else { return Disposition::Done };
    let join = member.join.clone();
    let turn = results.joins.look(member).await;
    take_turn(attempt, join, turn).await
}

/// Does what a member that has ended has to do. An error means that the worker stops.
pub(crate) async fn take_turn<E>(attempt: &Attempt<'_>, join: String, turn: Result<Turn, E>) -> Disposition {
    match turn {
        Ok(Turn::Done) => Disposition::Done,
        Ok(Turn::Fire { again }) => fire(attempt, join, again).await,
        Ok(Turn::Unknown) => {
            keep_for_replay(attempt, &format!("the result store of this worker does not have its chord `{join}`")).await
        }
        Err(_) => Disposition::Requeue,
    }
}

/// Sends the body of a chord whose members have all ended. If one of them has not succeeded, ends
/// the body with its error.
fn fire<'a>(attempt: &'a Attempt<'a>, join: String, again: bool) -> BoxFuture<'a, Disposition> {
    async move {
        let fired = match find_fired(attempt, &join).await {
            Ok(Some(fired)) => fired,
            // It was deleted since: it had fired long before.
            Ok(None) => return Disposition::Done,
            Err(Interrupted) => return Disposition::Requeue,
        };
        let body = match read_body(&fired.body) {
            Ok(body) => body,
            Err(reason) => return keep_for_replay(attempt, &format!("the body of chord `{join}`: {reason}")).await,
        };
        let limit = attempt.runtime.environment.follow_up_limits.message_size;
        let reason = match fired.results {
            JoinResults::All(results) => match send_body(attempt, &body, &results, again).await {
                Ok(sent) => return sent,
                Err(error) => error.to_string(),
            },
            JoinResults::Failed { task, failure } => format!("Dependency {task} raised {}", failure.python_repr()),
            JoinResults::Over { reason } => reason,
            JoinResults::TooLarge { size } => {
                format!("results too large: {size} bytes, the limit is {limit} (broker.max_message_size)")
            }
        };
        fail_body(attempt, &body, &Failure::new(CHORD_ERROR, reason), again).await
    }
    .boxed()
}

/// Sends the body with the results of all members.
///
/// # Errors
/// Returns an error if a body of this size is not allowed.
async fn send_body(
    attempt: &Attempt<'_>,
    body: &Signature,
    results: &[String],
    again: bool,
) -> Result<Disposition, FollowUpError> {
    let results = match result::read(&format!("[{}]", results.join(","))) {
        Ok(results) => results,
        Err(error) => return Ok(keep_for_replay(attempt, &error.to_string()).await),
    };
    match FollowUps::body_of_chord(attempt, body, &results)?.send(again).await {
        Ok(_) => Ok(Disposition::Done),
        Err(unsent) => Ok(keep_unsent(attempt, unsent).await),
    }
}

/// Ends the body of a chord that will never run, and calls its errbacks.
async fn fail_body(attempt: &Attempt<'_>, body: &Signature, failure: &Failure, again: bool) -> Disposition {
    let invalid = |reason: String| format!("the body of a chord that failed: {reason}");
    let steps = match body.clone().into_steps() {
        Ok(steps) => steps,
        Err(error) => return keep_for_replay(attempt, &invalid(error.to_string())).await,
    };
    for step in &steps {
        if end_step(attempt, step, TaskState::Failure, failure).await == Disposition::Requeue {
            return Disposition::Requeue;
        }
    }
    let last = steps.last().and_then(|step| ends(step).pop());
    let id = last.as_ref().and_then(Signature::task_id).unwrap_or_default();
    // The errbacks of a chain are those of each step.
    let Some(first) = steps.first() else { return Disposition::Done };
    let sent = match FollowUps::after_failed_body(attempt, id, first) {
        Ok(errbacks) => errbacks.send(again).await,
        Err(error) => return keep_for_replay(attempt, &invalid(error.to_string())).await,
    };
    match sent {
        Ok(_) => Disposition::Done,
        Err(unsent) => keep_unsent(attempt, unsent).await,
    }
}

fn read_body(text: &str) -> Result<Signature, String> {
    let limits = DecodeLimits { size: usize::MAX, values: usize::MAX, ..DecodeLimits::default() };
    let value = Codec::Json.decode_value(text.as_bytes(), &limits).map_err(|error| error.to_string())?;
    Signature::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use celeriac_protocol::headers::names;

    use super::*;
    use crate::attempt::testing::TestWorker;

    /// Returns a chord of three members, as a callback.
    fn chord() -> Signature {
        let member = || Signature::new("act").arg("succeed").into();
        let header = Value::List(vec![member(), member(), member()]);
        let mut chord = Signature::new("celeriac.chord").kwarg("header", header);
        chord.subtask_type = Some("chord".to_owned());
        chord.kwarg("body", Value::from(Signature::new("body").option("task_id", "body")))
    }

    #[tokio::test]
    async fn a_worker_that_dies_before_or_between_the_members_of_a_chord_leaves_them_to_the_next_delivery() {
        for sent_before in 0..=3 {
            let worker = TestWorker::new().await;
            let mut attempt = worker.deliver_changed("act", |call, _| call.follow.callbacks.push(chord())).await;
            attempt.embed = crate::attempt::embed::read_possible_embed(&mut attempt).await.unwrap().unwrap();
            worker.panic_after_publishes(sent_before);
            let first = after_success(&attempt, "1", FollowUpMode::First);
            let died = AssertUnwindSafe(first).catch_unwind().await.is_err();
            assert_eq!(died, sent_before < 3, "{sent_before}");

            worker.panic_after_publishes(u32::MAX);
            assert_eq!(after_success(&attempt, "1", FollowUpMode::Repeated).await, Disposition::Done);

            let published = worker.published();
            let members: Vec<_> = published.iter().filter(|sent| sent.header(names::JOIN).is_some()).collect();
            let mut ids: Vec<_> = members.iter().map(|sent| sent.header(names::ID).unwrap()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 3, "{sent_before}: each member is sent, under one id");
            let join = members[0].header(names::JOIN).unwrap().to_owned();
            let arrivals: Vec<_> = (0..3)
                .map(|index| {
                    let member = JoinMember { join: join.clone(), index };
                    Arrival { member, task: index.to_string(), outcome: Ok("1".to_owned()) }
                })
                .collect();
            worker.backend.record_arrivals(&arrivals).await.unwrap();
            let turns = worker.backend.fire(&[arrivals[2].member.clone()]).await.unwrap();
            assert_eq!(turns, [Turn::Fire { again: false }], "{sent_before}: its join counts three members");
        }
    }
}
