//! The dead-letter queue: keeps a message that cannot run or has failed permanently, with the
//! reason.

use std::borrow::Cow;

use celeriac_broker::{DeliveryInfo, Outgoing, headers};
use celeriac_protocol::headers::names;
use celeriac_protocol::{HeaderMap, Message, TaskHeaders, Value, shorten};
use celeriac_telemetry::events::worker::task::MessageDeadLettered;
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};

use crate::attempt::publish::{Recipient, disposition_after, end_publish, publish_until_confirmed};
use crate::attempt::{Attempt, Disposition};
use crate::runtime::WorkerRuntime;

/// Sends the message of a task to the dead-letter queue, with the reason.
pub(crate) async fn dead_letter(attempt: &Attempt<'_>, reason: &'static str, error: &str) -> Disposition {
    let TaskHeaders { task, id, .. } = attempt.headers();
    let origin = &attempt.received.origin;
    attempt.span.emit(&MessageDeadLettered { queue: &origin.queue, reason, error, task: Some(task), id: Some(id) });
    let message = attempt.received.message.clone();
    send_from(attempt, message, reason, error).await
}

/// Sends the message of a task that has run to the dead-letter queue, because its follow-ups cannot
/// be sent. After a replay, the worker finds the outcome in the store and sends them.
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
    send_from(attempt, message, REASON, error).await
}

/// Sends the message of an attempt, as a part of its trace.
async fn send_from(attempt: &Attempt<'_>, message: Message, reason: &'static str, error: &str) -> Disposition {
    let origin = &attempt.received.origin;
    let sent = send_dead_letter(attempt.runtime, message, origin, reason, error, |_, info| PublishSpan::start(info));
    attempt.span.run(sent).await
}

/// Sends a message to the dead-letter queue of its origin. `span` starts the span of that.
pub(crate) async fn send_dead_letter(
    runtime: &WorkerRuntime,
    mut message: Message,
    origin: &DeliveryInfo,
    reason: &'static str,
    error: &str,
    span: impl FnOnce(&Message, &PublishInfo<'_>) -> PublishSpan,
) -> Disposition {
    // The message must stay readable in a console, and its headers must fit in one frame.
    const LONGEST_ERROR: usize = 2_000;
    let error = shorten(error, LONGEST_ERROR).into_owned();
    message.headers.strip_deaths();
    let told = [
        (names::DEAD_REASON, reason.to_owned()),
        (names::DEAD_ERROR, error),
        (names::DEAD_QUEUE, origin.queue.to_string()),
        (names::DEAD_EXCHANGE, origin.exchange.clone()),
        (names::DEAD_ROUTING_KEY, origin.routing_key.clone()),
        (names::DEAD_WORKER, runtime.name.to_string()),
        (names::DEAD_AT, runtime.clock.now().to_string()),
    ];
    leave_out_largest(&mut message.headers);
    for (name, value) in told {
        message.headers.insert(name, Value::Text(value));
    }
    // Dead letters do not expire, because a person has to handle them.
    message.properties.expiration = None;
    // Every consumed queue has a dead-letter queue.
    let Some(routing_key) = runtime.topology.dead_letter_queue(&origin.queue) else { return Disposition::Reject };
    let text = |name| message.headers.text(name).unwrap_or_default();
    let info = PublishInfo { task: text(names::TASK), id: text(names::ID), exchange: "", routing_key: &routing_key };
    let span = span(&message, &info);
    span.inject(&mut message.headers);
    let outgoing = Outgoing { exchange: Cow::Borrowed(""), routing_key, message, mandatory: true };
    let sent = publish_until_confirmed(runtime, outgoing, Recipient::Own).await;
    end_publish(span, &sent);
    disposition_after(&sent)
}

/// Leaves out the largest headers of a message that could not be published with them. The mark of
/// that keeps a replay from running the task without them.
fn leave_out_largest(message: &mut HeaderMap) {
    /// Space for the headers about the death.
    const ROOM: usize = 8 << 10;
    const MOST_NAMED: usize = 4;
    let left_out = headers::leave_out_largest(message, headers::MAX - ROOM);
    if !left_out.is_empty() {
        let named = &left_out[..left_out.len().min(MOST_NAMED)];
        message.insert(names::UNREADABLE, named.join("; "));
    }
}
