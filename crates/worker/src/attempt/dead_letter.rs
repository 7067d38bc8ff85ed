//! The dead-letter queue: what cannot run, or has failed for good, is kept with its reason.

use std::borrow::Cow;

use celeriac_broker::{DeliveryInfo, Outgoing};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders, Value};
use celeriac_telemetry::clock;
use celeriac_telemetry::events::worker::MessageDeadLettered;

use crate::attempt::publish::{Recipient, disposition_after, publish_until_confirmed};
use crate::attempt::{Attempt, Disposition};
use crate::runtime::WorkerRuntime;

/// Puts the message of a task on the dead-letter queue, with the reason.
pub(crate) async fn dead_letter(attempt: &Attempt<'_>, reason: &'static str, error: &str) -> Disposition {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let origin = &attempt.received.origin;
    attempt.span.emit(&MessageDeadLettered { queue: &origin.queue, reason, error, task: Some(task), id: Some(id) });
    let message = attempt.received.message.clone();
    send_dead_letter(attempt.runtime, message, origin, reason, error).await
}

/// Puts the message of a task that has run on the dead-letter queue, because what follows from it cannot be sent. When it
/// is replayed, its worker looks into the store and does that much.
pub(crate) async fn dead_letter_not_followed_up(attempt: &Attempt<'_>, error: &str) -> Disposition {
    const REASON: &str = names::NOT_FOLLOWED_UP;
    let TaskHeaders { task, id, .. } = attempt.headers();
    let origin = &attempt.received.origin;
    attempt.span.emit(&MessageDeadLettered {
        queue: &origin.queue,
        reason: REASON,
        error,
        task: Some(task),
        id: Some(id),
    });
    let mut message = attempt.received.message.clone();
    message.headers.insert(names::REPEATED, true);
    send_dead_letter(attempt.runtime, message, origin, REASON, error).await
}

/// Puts a message on the dead-letter queue of the queue it came from.
pub(crate) async fn send_dead_letter(
    runtime: &WorkerRuntime,
    mut message: Message,
    origin: &DeliveryInfo,
    reason: &'static str,
    error: &str,
) -> Disposition {
    // The message has to stay readable in a console, and its headers in one frame.
    const LONGEST_ERROR: usize = 1_000;
    let error: String = error.chars().take(LONGEST_ERROR).collect();
    message.headers.strip_deaths();
    let told = [
        (names::DEAD_REASON, reason.to_owned()),
        (names::DEAD_ERROR, error),
        (names::DEAD_QUEUE, origin.queue.to_string()),
        (names::DEAD_EXCHANGE, origin.exchange.clone()),
        (names::DEAD_ROUTING_KEY, origin.routing_key.clone()),
        (names::DEAD_WORKER, runtime.name.to_string()),
        (names::DEAD_AT, clock::now().to_string()),
    ];
    for (name, value) in told {
        message.headers.insert(name, Value::Text(value));
    }
    // A dead letter waits for a person, however long.
    message.properties.expiration = None;
    // Nobody consumes a queue that has none.
    let Some(routing_key) = runtime.topology.dead_letter_queue(&origin.queue) else { return Disposition::Reject };
    let outgoing = Outgoing { exchange: Cow::Borrowed(""), routing_key, message, mandatory: true };
    disposition_after(publish_until_confirmed(runtime, outgoing, Recipient::Own).await)
}
