//! The dead-letter queue: what cannot run, or has failed for good, is kept with its reason.

use std::borrow::Cow;

use celeriac_broker::{Origin, Outgoing};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Failure, Message, TaskHeaders, Value};
use celeriac_telemetry::events::worker::MessageDeadLettered;
use celeriac_telemetry::{Event, clock};
use jiff::Timestamp;

use super::{Unsent, send};
use crate::decode::Unusable;
use crate::lifecycle::{Core, Ending, Life};
use crate::record;

/// Puts the message of a task on the dead-letter queue, with the reason.
pub(crate) async fn dead_letter(life: &Life<'_>, reason: &'static str, error: &str) -> Ending {
    let TaskHeaders { task, id, .. } = &life.received.headers;
    let origin = &life.received.origin;
    life.span.emit(&MessageDeadLettered { queue: &origin.queue, reason, error, task: Some(task), id: Some(id) });
    let message = life.received.message.clone();
    send_dead(life.core, message, origin, reason, error).await
}

/// Puts the message of a task that has run on the dead-letter queue, because what follows from it cannot be sent. When it
/// is replayed, its worker looks into the store and does that much.
pub(crate) async fn dead_letter_after(life: &Life<'_>, error: &str) -> Ending {
    const REASON: &str = names::NOT_FOLLOWED_UP;
    let TaskHeaders { task, id, .. } = &life.received.headers;
    let origin = &life.received.origin;
    life.span.emit(&MessageDeadLettered {
        queue: &origin.queue,
        reason: REASON,
        error,
        task: Some(task),
        id: Some(id),
    });
    let mut message = life.received.message.clone();
    message.headers.insert(names::REPEATED, true);
    send_dead(life.core, message, origin, REASON, error).await
}

/// Puts a message whose headers are no task's on the dead-letter queue, and records it if it has at least an id.
pub(crate) async fn refuse_unread(
    core: &Core,
    message: Message,
    origin: &Origin,
    unusable: &Unusable,
    received_at: Timestamp,
) -> Ending {
    let text =
        |name| message.headers.text(name).filter(|text| text.len() <= 255 && !text.contains('\0')).map(str::to_owned);
    let (task, id) = (text(names::TASK), text(names::ID).filter(|id| !id.is_empty()));
    let replays = message.headers.replays();
    let (reason, error) = (unusable.reason(), unusable.to_string());
    MessageDeadLettered { queue: &origin.queue, reason, error: &error, task: task.as_deref(), id: id.as_deref() }
        .emit();
    let ending = send_dead(core, message, origin, reason, &error).await;
    let (Ending::Done, Some(id), Some(results)) = (ending, id, &core.results) else { return ending };
    let failure = Failure::new(unusable.kind(), error);
    let row = record::unread_row(core, origin, id, task.unwrap_or_default(), failure, replays, received_at);
    // A row that the store will never take is no loss: the message stands in the dead-letter queue already.
    results.record(Box::new(row)).await.unwrap_or(Ending::Done)
}

async fn send_dead(core: &Core, mut message: Message, origin: &Origin, reason: &'static str, error: &str) -> Ending {
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
        (names::DEAD_WORKER, core.name.to_string()),
        (names::DEAD_AT, clock::now().to_string()),
    ];
    for (name, value) in told {
        message.headers.insert(name, Value::Text(value));
    }
    // A dead letter waits for a person, however long.
    message.properties.expiration = None;
    // Nobody consumes a queue that has none.
    let Some(routing_key) = core.topology.dead_letter_queue(&origin.queue) else { return Ending::Refused };
    match send(core, Outgoing { exchange: Cow::Borrowed(""), routing_key, message, mandatory: true }).await {
        Err(Unsent::Impossible) => Ending::Refused,
        sent => sent.into(),
    }
}
