//! Sends a task to its own queue again, as its next attempt or as the same attempt later.

use std::borrow::Cow;
use std::time::Duration;

use celeriac_broker::Outgoing;
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders};
use celeriac_telemetry::trace::PublishSpan;
use jiff::Timestamp;

use crate::attempt::publish::{PublishFailure, Recipient, disposition_after, publish_until_confirmed};
use crate::attempt::{Attempt, Disposition};
use crate::hold::nearly_whole;
use crate::runtime::WorkerRuntime;
use crate::task::received::Received;

/// Sends the next attempt of a task to its queue, to arrive when it is due. `until` limits all
/// attempts together.
pub(crate) async fn send_next_attempt(attempt: &Attempt<'_>, due: Timestamp, until: Option<Timestamp>) -> Disposition {
    let retries = attempt.headers().retries.saturating_add(1);
    let wait = attempt.runtime.clock.time_until(due);
    let eta = Some(due).filter(|_| !wait.is_zero());
    let mut message = attempt.received.message.clone();
    TaskHeaders::next_attempt(&mut message.headers, retries, eta);
    if let Some(until) = until {
        message.headers.set_retry_until(until);
    }
    send_held(attempt, message, nearly_whole(wait)).await
}

/// Returns an early task to its queue, to arrive when it is due.
///
/// If the worker dies between this and the acknowledgement, there are two messages. Both have a
/// header, so that their workers first read the store.
pub(crate) async fn hold_until_due(attempt: &Attempt<'_>, wait: Duration) -> Disposition {
    let mut message = without_deaths(&attempt.received);
    message.headers.insert(names::REPEATED, true);
    send_held(attempt, message, wait).await
}

/// Returns a task over its rate to its queue, to request a start again after a wait.
///
/// This is not an attempt, because the task has not run. If the worker dies between this and the
/// acknowledgement, there are two messages. Both have a header, so that their workers first read
/// the store.
pub(crate) async fn hold_for_rate(attempt: &Attempt<'_>, wait: Duration, rounds: u32) -> Disposition {
    let mut message = without_deaths(&attempt.received);
    message.headers.insert(names::ROUNDS, rounds);
    send_held(attempt, message, wait).await
}

/// Returns a redelivered task to its queue: a suspect until it may run alone, or a task that runs
/// already. A header says that it was delivered before.
pub(crate) async fn hold_redelivered(attempt: &Attempt<'_>, wait: Duration) -> Disposition {
    send_held(attempt, as_redelivered(&attempt.received), wait).await
}

/// Returns the message of a running attempt to its queue, to arrive after a wait.
///
/// # Errors
/// Returns an error if the worker stops first, or if the message can never be sent.
pub(crate) async fn return_running(
    runtime: &WorkerRuntime,
    received: &Received,
    wait: Duration,
) -> Result<(), PublishFailure> {
    let (outgoing, recipient) = held(runtime, received, as_redelivered(received), wait);
    publish_until_confirmed(runtime, outgoing, recipient).await
}

fn as_redelivered(received: &Received) -> Message {
    let mut message = without_deaths(received);
    message.headers.insert(names::SUSPECTED, true);
    message
}

fn without_deaths(received: &Received) -> Message {
    let mut message = received.message.clone();
    message.headers.strip_deaths();
    message
}

async fn send_held(attempt: &Attempt<'_>, message: Message, wait: Duration) -> Disposition {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let (mut outgoing, recipient) = held(attempt.runtime, &attempt.received, message, wait);
    let sending = async {
        let span = PublishSpan::start(task, id, "", &attempt.received.origin.queue);
        span.inject(&mut outgoing.message.headers);
        let sent = publish_until_confirmed(attempt.runtime, outgoing, recipient).await;
        span.end(if sent.is_ok() { Ok(()) } else { Err(&"the worker stopped before it was sent") });
        sent
    };
    disposition_after(&attempt.span.run(sending).await)
}

/// Returns a message with the address from which it arrives at its queue after a wait.
fn held(runtime: &WorkerRuntime, received: &Received, mut message: Message, wait: Duration) -> (Outgoing, Recipient) {
    let queue = &received.origin.queue;
    // The header has the expiry. RabbitMQ would restart an expiration at each delay level.
    message.properties.expiration = None;
    let delayed = runtime.broker.ladder().address(wait, queue);
    let recipient = if delayed.is_some() { Recipient::Own } else { Recipient::SameQueue };
    let (exchange, routing_key) = delayed.unwrap_or_else(|| (String::new(), queue.to_string()));
    (Outgoing { exchange: Cow::Owned(exchange), routing_key, message, mandatory: true }, recipient)
}
