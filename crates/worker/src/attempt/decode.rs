//! Turns a delivery into a task that can run, or into the reason why it cannot.

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Delivery, DeliveryInfo};
use celeriac_protocol::headers::names;
use celeriac_protocol::redact::RedactedValues;
use celeriac_protocol::{Body, Embed, TaskHeaders, sent_at};
use celeriac_telemetry::events::worker::task::TaskReceived;
use celeriac_telemetry::trace::{ProcessInfo, ProcessSpan};
use jiff::tz::TimeZone;

use crate::attempt::body::decode_body;
use crate::attempt::embed::read_possible_embed;
use crate::attempt::reject::{InvalidDelivery, reject};
use crate::attempt::reject_reason::RejectReason;
use crate::attempt::{Attempt, AttemptStep, unknown};
use crate::own_queues::give_own_id;
use crate::panics::catch;
use crate::runtime::WorkerRuntime;
use crate::slots::TaskSlot;
use crate::task::definition::TaskDefinition;
use crate::task::received::Received;
use crate::task::registry::Registry;

/// Reads the headers of a delivery and starts its span.
///
/// # Errors
/// Returns an error if the message is not a valid task.
pub(crate) fn read_headers(
    runtime: &WorkerRuntime,
    delivery: Delivery,
    slot: TaskSlot,
) -> Result<Attempt<'_>, Box<InvalidDelivery>> {
    let received_at = runtime.clock.now();
    let Delivery { mut message, origin, settlement } = delivery;
    if runtime.broadcasts.contains(&*origin.queue) {
        give_own_id(&mut message.headers, &runtime.name);
    }
    let read = catch(|| message.read_headers(&runtime.limits, TimeZone::system));
    let read = match read {
        Ok(read) => read.map_err(RejectReason::from),
        Err(panic) => Err(RejectReason::Panicked { message: panic.failure().message.clone() }),
    };
    let headers = match read {
        Ok(headers) => headers,
        Err(reason) => return Err(Box::new(InvalidDelivery { message, origin, settlement, reason, received_at })),
    };
    let received = Arc::new(Received::new(message, headers, origin));
    let span = begin_span(runtime, &received, settlement.tag());
    Ok(Attempt {
        runtime,
        received,
        received_at,
        span,
        meter: slot.meter(),
        slot: Some(slot),
        settlement: Some(settlement),
        task: None,
        embed: Embed::default(),
        arguments: None,
        shown_arguments: None,
        redacted: RedactedValues::default(),
        timing: None,
        memory: None,
        is_counted: false,
    })
}

/// Starts the span of a delivery, and records the arrival in it.
fn begin_span(runtime: &WorkerRuntime, received: &Received, delivery_tag: u64) -> ProcessSpan {
    let Received { message, headers, origin, .. } = received;
    let DeliveryInfo { queue, exchange, routing_key, redelivered, .. } = origin;
    let TaskHeaders { task, id, retries, eta, .. } = headers;
    let (attempt, worker) = (retries.saturating_add(1), &runtime.name);
    let redelivered = *redelivered;
    // A delayed message arrives from the last level of its delay.
    let exchange = if runtime.broker.ladder().owns(exchange) { "" } else { exchange };
    let delay = eta.zip(sent_at(id)).and_then(|(due, sent)| Duration::try_from(due.duration_since(sent)).ok());
    let kept_logs = runtime.results.as_ref().and_then(|results| results.logs);
    let info = ProcessInfo {
        task,
        id,
        queue,
        exchange,
        routing_key,
        attempt,
        delay,
        redelivered,
        delivery_tag,
        worker,
        kept_logs,
        monitors: Some(&runtime.monitors),
    };
    let span = ProcessSpan::start(&message.headers, &info);
    let arguments = if runtime.monitors.are_told() { shown_arguments(runtime, received) } else { None };
    span.emit(&TaskReceived { task, id, queue, redelivered, headers, arguments });
    span
}

/// Returns the arguments as Python prints them, if the sender has written them and the task does
/// not redact any.
pub(crate) fn shown_arguments<'a>(runtime: &WorkerRuntime, received: &'a Received) -> Option<(&'a str, &'a str)> {
    let headers = &received.message.headers;
    let shown = headers.text(names::ARGSREPR).zip(headers.text(names::KWARGSREPR))?;
    let redacts = |task: &TaskDefinition| task.options.redact.is_some();
    (!runtime.registry.get(&received.headers.task).is_some_and(redacts)).then_some(shown)
}

/// Finds the task of the message. Rejects a task that the worker does not know.
pub(crate) async fn find_task<'a>(attempt: &mut Attempt<'a>) -> AttemptStep<&'a TaskDefinition> {
    let runtime = attempt.runtime;
    match registered(&runtime.registry, &attempt.received.headers) {
        Ok(task) => {
            attempt.task = Some(task);
            Ok(task)
        }
        Err(reason) => {
            if let RejectReason::Unknown { .. } = reason {
                Box::pin(unknown::hold_within_grace(attempt)).await?;
            }
            // A caller may await the later steps, which will never run, so they fail too.
            attempt.embed = Box::pin(read_possible_embed(attempt)).await?.unwrap_or_default();
            Err(Box::pin(reject(attempt, &reason)).await)
        }
    }
}

fn registered<'a>(registry: &'a Registry, headers: &TaskHeaders) -> Result<&'a TaskDefinition, RejectReason> {
    if let Some(task) = registry.get(&headers.task) {
        return Ok(task);
    }
    let name = headers.task.clone();
    Err(match registry.why_unserved(&name) {
        Some(reason) => RejectReason::Unserved { name, reason },
        None => {
            let nearest = registry.nearest(&name).map(str::to_owned);
            RejectReason::Unknown { name, nearest }
        }
    })
}

/// Reads the arguments and the embed. Rejects a message that cannot be read.
pub(crate) async fn read_body(attempt: &mut Attempt<'_>) -> AttemptStep<Body> {
    match decode_body(attempt).await? {
        Ok((body, embed)) => {
            attempt.embed = embed;
            Ok(body)
        }
        Err(unreadable) => Err(Box::pin(reject(attempt, &unreadable.into())).await),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::{TaskState, Value};

    use super::*;
    use crate::attempt::Disposition;
    use crate::attempt::testing::{ID, QUEUE, TestWorker, follow_up};

    #[tokio::test]
    async fn a_body_comes_with_what_follows_from_it() {
        let worker = TestWorker::new().await;
        let mut attempt =
            worker.deliver_changed("succeed", |call, _| call.follow.callbacks.push(follow_up("next"))).await;

        let task = find_task(&mut attempt).await.unwrap();
        let body = read_body(&mut attempt).await.unwrap();

        assert_eq!(task.name, "act");
        assert_eq!(body.args, [Value::from("succeed")]);
        assert_eq!(attempt.embed.callbacks.len(), 1);
        assert_eq!((attempt.slot.is_some(), attempt.settlement.is_some()), (true, true));
    }

    #[tokio::test]
    async fn a_task_that_nobody_knows_is_dead_lettered_before_its_failure_is_recorded() {
        let worker = TestWorker::new().await;
        let mut attempt = worker
            .deliver_changed("succeed", |_, message| {
                message.headers.insert(names::TASK, "acting");
            })
            .await;

        let ended = find_task(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Failure));
        assert!(attempt.slot.is_none(), "a task that does not run needs no slot");
        let published = worker.published();
        assert_eq!(published.len(), 1);
        assert_eq!(published[0].header(names::DEAD_REASON), Some("unknown-task"));
        assert_eq!(published[0].row, None, "the message first, then the row");
        assert_eq!(worker.row().await.unwrap().failure.unwrap().kind, "NotRegistered");
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_dead_lettered() {
        let worker = TestWorker::new().await;
        let mut attempt = worker.deliver_changed("succeed", |_, message| message.body = "garbage".into()).await;

        let ended = read_body(&mut attempt).await.unwrap_err();

        assert_eq!((ended.disposition, ended.state), (Disposition::Done, TaskState::Failure));
        assert_eq!(worker.published()[0].header(names::DEAD_REASON), Some("unreadable"));
    }

    #[tokio::test]
    async fn a_message_that_is_no_task_is_dead_lettered_and_recorded_as_far_as_it_is_known() {
        let worker = TestWorker::new().await;
        worker
            .send("succeed", |_, message| {
                message.headers.insert(names::RETRIES, "many");
            })
            .await;
        let delivery = worker.take(QUEUE).await;
        let slot = worker.slot().await;

        let invalid = read_headers(&worker.runtime, delivery, slot).err().unwrap();
        let disposition = crate::attempt::reject::dead_letter_invalid(&worker.runtime, &invalid).await;

        assert_eq!(disposition, Disposition::Done);
        assert_eq!(worker.published()[0].header(names::DEAD_REASON), Some("unreadable"));
        assert_eq!(worker.backend.find(ID).await.unwrap().unwrap().state, TaskState::Rejected);
    }
}
