//! Sends a task to its own queue again, as its next attempt or as the same attempt later.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::Outgoing;
use celeriac_protocol::headers::names;
use celeriac_protocol::{Failure, Message, TaskHeaders};
use celeriac_telemetry::events::worker::task::TaskDelayed;
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};
use jiff::Timestamp;

use crate::attempt::dead_letter::dead_letter;
use crate::attempt::embed::{read_possible_embed, read_small_embed};
use crate::attempt::publish::{PublishFailure, Recipient, disposition_after, end_publish, publish_until_confirmed};
use crate::attempt::refused::{UNSENDABLE, end_unsendable};
use crate::attempt::{Attempt, AttemptStep, Disposition, Processed};
use crate::hold::nearly_whole;
use crate::runtime::WorkerRuntime;
use crate::task::received::Received;

/// The next attempt of a task.
#[derive(Debug)]
pub(crate) struct NextAttempt {
    /// The message.
    pub(crate) message: Message,
    /// The queue.
    pub(crate) queue: Arc<str>,
}

impl NextAttempt {
    /// Returns the next attempt, which is due at this time. `until` limits all attempts together.
    pub(crate) fn new(attempt: &Attempt<'_>, due: Timestamp, until: Option<Timestamp>) -> Self {
        let retries = attempt.headers().retries.saturating_add(1);
        let wait = attempt.runtime.clock.time_until(due);
        let eta = Some(due).filter(|_| !wait.is_zero());
        let mut message = attempt.received.message.clone();
        TaskHeaders::next_attempt(&mut message.headers, retries, eta);
        attempt.span.inject_attempt(&mut message.headers);
        if let Some(until) = until {
            message.headers.set_retry_until(until);
        }
        Self { message, queue: Arc::clone(&attempt.received.origin.queue) }
    }

    /// Returns the queue if it is another one than that of the attempt.
    pub(crate) fn other_queue(&self, attempt: &Attempt<'_>) -> Option<String> {
        (self.queue != attempt.received.origin.queue).then(|| self.queue.to_string())
    }
}

/// Sends the message of the next attempt to its queue, to arrive when it is due.
///
/// # Errors
/// Returns the end of the attempt if the worker stops first, or if the message can never be sent.
/// The task has then failed, with `failure` as the cause.
pub(crate) async fn send_next_attempt(
    attempt: &mut Attempt<'_>,
    next: NextAttempt,
    due: Timestamp,
    failure: Option<&Failure>,
) -> AttemptStep<()> {
    let wait = nearly_whole(attempt.runtime.clock.time_until(due));
    match send_to(attempt, &next.queue, next.message, wait).await {
        Ok(()) => Ok(()),
        Err(unsent) => Err(end_unsent(attempt, unsent, failure).await),
    }
}

/// Returns an early task to its queue, to arrive when it is due.
///
/// If the worker dies between this and the acknowledgement, there are two messages. Both have a
/// header, so that their workers first read the store.
pub(crate) async fn hold_until_due(attempt: &mut Attempt<'_>, wait: Duration) -> Processed {
    let TaskHeaders { task, id, .. } = attempt.headers();
    attempt.span.emit(&TaskDelayed { task, id, retry_in: wait });
    let mut message = without_deaths(&attempt.received);
    message.headers.insert(names::REPEATED, true);
    hold(attempt, message, wait).await
}

/// Returns a task that asked for it to its queue, to arrive after a wait.
///
/// As with an early task, both messages after a crash have a header.
pub(crate) async fn hold_requeued(attempt: &mut Attempt<'_>, wait: Duration) -> Processed {
    let mut message = without_deaths(&attempt.received);
    message.headers.insert(names::REPEATED, true);
    hold(attempt, message, wait).await
}

/// Returns a task that this worker does not know to its queue, where another worker may take it. A
/// header has the time of the first return.
///
/// As with an early task, both messages after a crash have a header.
pub(crate) async fn hold_unknown(attempt: &mut Attempt<'_>, wait: Duration, since: Timestamp) -> Processed {
    let mut message = without_deaths(&attempt.received);
    message.headers.insert(names::REPEATED, true);
    message.headers.set_unknown_since(since);
    hold(attempt, message, wait).await
}

/// Returns a task over its rate to its queue, to request a start again after a wait.
///
/// This is not an attempt, because the task has not run. If the worker dies between this and the
/// acknowledgement, there are two messages. Both have a header, so that their workers first read
/// the store.
pub(crate) async fn hold_for_rate(attempt: &mut Attempt<'_>, wait: Duration, rounds: u32) -> Processed {
    let mut message = without_deaths(&attempt.received);
    message.headers.insert(names::ROUNDS, rounds);
    hold(attempt, message, wait).await
}

/// Returns a suspect to its queue, until it may run alone. A header says that it was delivered
/// before.
pub(crate) async fn hold_suspect(attempt: &mut Attempt<'_>, wait: Duration) -> Processed {
    match send_held(attempt, as_redelivered(&attempt.received), wait).await {
        Err(PublishFailure::Impossible(reason)) => {
            // Its body may be what brings workers down.
            attempt.embed = read_small_embed(attempt).await.unwrap_or_default();
            end_unsendable(attempt, &reason, None).await
        }
        sent => Processed::held(disposition_after(&sent)),
    }
}

/// Returns a task that runs already to its queue. A header says that it was delivered before. If
/// the message can never be sent, it is dead-lettered: a replay finds the outcome of the run.
pub(crate) async fn hold_running(attempt: &Attempt<'_>, wait: Duration) -> Processed {
    Processed::held(match send_held(attempt, as_redelivered(&attempt.received), wait).await {
        Err(PublishFailure::Impossible(reason)) => dead_letter(attempt, UNSENDABLE, &reason).await,
        sent => disposition_after(&sent),
    })
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
    let (outgoing, recipient) = held(runtime, received, &received.origin.queue, as_redelivered(received), wait);
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

async fn hold(attempt: &mut Attempt<'_>, message: Message, wait: Duration) -> Processed {
    match send_held(attempt, message, wait).await {
        Ok(()) => Processed::held(Disposition::Done),
        Err(unsent) => end_unsent(attempt, unsent, None).await,
    }
}

/// Ends an attempt whose message was not sent again.
async fn end_unsent(attempt: &mut Attempt<'_>, unsent: PublishFailure, failure: Option<&Failure>) -> Processed {
    let PublishFailure::Impossible(reason) = unsent else { return Disposition::Requeue.into() };
    if attempt.timing.is_none() {
        attempt.embed = match Box::pin(read_possible_embed(attempt)).await {
            Ok(embed) => embed.unwrap_or_default(),
            Err(interrupted) => return interrupted,
        };
    }
    end_unsendable(attempt, &reason, failure).await
}

async fn send_held(attempt: &Attempt<'_>, message: Message, wait: Duration) -> Result<(), PublishFailure> {
    send_to(attempt, &attempt.received.origin.queue, message, wait).await
}

/// Sends a message to a queue, to arrive after a wait.
async fn send_to(attempt: &Attempt<'_>, queue: &str, message: Message, wait: Duration) -> Result<(), PublishFailure> {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let (mut outgoing, recipient) = held(attempt.runtime, &attempt.received, queue, message, wait);
    let sending = async {
        let routing_key = queue;
        let delay = Some(wait).filter(|wait| !wait.is_zero());
        let span = PublishSpan::start(&PublishInfo { task, id, exchange: "", routing_key }).delayed(delay);
        span.inject(&mut outgoing.message.headers);
        let sent = publish_until_confirmed(attempt.runtime, outgoing, recipient).await;
        end_publish(span, &sent);
        sent
    };
    attempt.span.run(sending).await
}

/// Returns a message with the address from which it arrives at a queue after a wait.
fn held(
    runtime: &WorkerRuntime,
    received: &Received,
    queue: &str,
    mut message: Message,
    wait: Duration,
) -> (Outgoing, Recipient) {
    // The header has the expiry. RabbitMQ would restart an expiration at each delay level.
    message.properties.expiration = None;
    let delayed = runtime.broker.ladder().address(wait, queue);
    let recipient = match delayed {
        Some(_) => Recipient::Own,
        None if *queue == *received.origin.queue => Recipient::SameQueue,
        None => Recipient::External,
    };
    let (exchange, routing_key) = delayed.unwrap_or_else(|| (String::new(), queue.to_owned()));
    (Outgoing { exchange: Cow::Owned(exchange), routing_key, message, mandatory: true }, recipient)
}
