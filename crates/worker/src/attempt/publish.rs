//! Publishes the messages that a delivery causes.
//!
//! A message that cannot be sent is sent later. If the worker stops first, the delivery returns to
//! its queue.

use std::time::Duration;

use celeriac_broker::{Outgoing, PublishFault};
use celeriac_protocol::headers::names;
use celeriac_protocol::retry::{Backoff, RetryPolicy};
use celeriac_telemetry::events::worker::TopologyNotDeclared;
use celeriac_telemetry::events::worker::completion::{FollowUpFailed, TaskAwaitsBroker};
use celeriac_telemetry::{ErrorChain, Event, PublishSpan};

use crate::attempt::{Disposition, Interrupted};
use crate::runtime::WorkerRuntime;

/// Waits between two attempts at an operation of broker or store.
pub(crate) const BACKOFF: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(10));

/// Attempts at an exchange or queue of another program that is missing or denied: about twenty
/// seconds in all.
const MAX_TRIES_ELSEWHERE: u32 = 8;

/// Refusals by the full queue of a delivery, after which a message for it waits on a delay level.
const MAX_REFUSALS: u32 = 3;

/// Wait of that message. If the queue is full again when it arrives, RabbitMQ tries again three
/// minutes later. So it is longer than a burst of failing tasks.
const UNTIL_ROOM: Duration = Duration::from_secs(4);

/// The reason why a message is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublishFailure {
    /// The worker stops.
    Interrupted,
    /// It can never be sent, for this reason.
    Impossible(String),
}

/// The owner of a message's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// This worker. It declares the queue again if it is missing.
    Own,
    /// This worker, and the delivery that causes the message is from the same queue.
    ///
    /// While the queue is full, the delivery cannot wait for room: it occupies the prefetch, so the
    /// worker would take no message out of the queue. The message then waits on a delay level.
    SameQueue,
    /// Another program. The queue may be missing or denied to this user for good.
    External,
}

/// Ends the span of a message with the outcome of its publish.
pub(crate) fn end_publish(span: PublishSpan, sent: &Result<(), PublishFailure>) {
    match sent {
        Ok(()) => span.end(Ok(())),
        Err(PublishFailure::Interrupted) => span.end(Err(&"the worker stopped before it was sent")),
        Err(PublishFailure::Impossible(reason)) => span.end(Err(reason)),
    }
}

/// Publishes until the message is confirmed.
///
/// # Errors
/// Returns an error if the worker stops first, or if the message can never be sent.
pub(crate) async fn publish_until_confirmed(
    runtime: &WorkerRuntime,
    mut outgoing: Outgoing,
    recipient: Recipient,
) -> Result<(), PublishFailure> {
    let mut backoff = Backoff::new(BACKOFF);
    let (mut missing, mut refusals) = (0, 0);
    loop {
        let error = match runtime.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.may_have_been_sent() {
            outgoing.message.headers.insert(names::REPEATED, true);
        }
        let told = ErrorChain(&error).to_string();
        let fault = error.publish_fault();
        tell_not_sent(runtime, &outgoing, fault, &told);
        match fault {
            PublishFault::Message => return Err(PublishFailure::Impossible(told)),
            PublishFault::Address => {
                missing += 1;
                if recipient == Recipient::External && missing > MAX_TRIES_ELSEWHERE {
                    return Err(PublishFailure::Impossible(told));
                }
                // The queue was deleted by another program, and is declared again before the next
                // attempt.
                if let Err(error) = runtime.broker.declare(&runtime.topology).await {
                    TopologyNotDeclared { error: &ErrorChain(&error).to_string() }.emit();
                }
            }
            PublishFault::Full => {
                refusals += 1;
                if recipient == Recipient::SameQueue && refusals == MAX_REFUSALS {
                    delay_until_room(runtime, &mut outgoing);
                }
            }
            PublishFault::Passing | PublishFault::Program => {}
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait(fastrand::f64())) => {}
            () = runtime.interrupt().cancelled() => return Err(PublishFailure::Interrupted),
        }
    }
}

fn tell_not_sent(runtime: &WorkerRuntime, outgoing: &Outgoing, fault: PublishFault, error: &str) {
    let header = |name| outgoing.message.headers.text(name);
    let (task, id) = (header(names::TASK), header(names::ID));
    if fault == PublishFault::Passing && runtime.is_broker_away() {
        return TaskAwaitsBroker { task, id, work: "follow-up", error }.emit();
    }
    let (exchange, routing_key) = (&outgoing.exchange, &outgoing.routing_key);
    FollowUpFailed { task, id, exchange, routing_key, error }.emit();
}

/// Addresses a message for a queue to a delay before it.
fn delay_until_room(runtime: &WorkerRuntime, outgoing: &mut Outgoing) {
    if let Some((exchange, routing_key)) = runtime.broker.ladder().address(UNTIL_ROOM, &outgoing.routing_key) {
        (outgoing.exchange, outgoing.routing_key) = (exchange.into(), routing_key);
    }
}

/// Returns the disposition of a delivery, after its message was sent or not.
pub(crate) fn disposition_after(sent: &Result<(), PublishFailure>) -> Disposition {
    match sent {
        Ok(()) => Disposition::Done,
        Err(PublishFailure::Interrupted) => Disposition::Requeue,
        Err(PublishFailure::Impossible(_)) => Disposition::Reject,
    }
}

impl From<Interrupted> for PublishFailure {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}
