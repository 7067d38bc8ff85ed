//! What is sent because of a task: its next attempt, its place in the dead-letter queue.
//!
//! Nothing here gives up: a message that cannot be sent now is sent later, or the worker stops and the delivery it
//! follows from goes back to its queue.

use std::borrow::Cow;
use std::time::Duration;

use celeriac_broker::topology::dead_letter_queue;
use celeriac_broker::{Error as BrokerError, Origin, Outgoing, delay};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Failure, Message, TaskHeaders, Value};
use celeriac_telemetry::Occurrence;
use celeriac_telemetry::clock;
use celeriac_telemetry::occurrences::worker::{FollowUpFailed, MessageDeadLettered};
use celeriac_telemetry::trace::PublishSpan;
use jiff::Timestamp;

use crate::decode::Unusable;
use crate::lifecycle::{Core, Ending, Interrupted, Life};
use crate::record;

/// The broker counts whole seconds; what is shorter is waited out by the worker.
pub(crate) const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// Sends the next attempt of a task to the queue it came from, to arrive after a wait.
pub(crate) async fn retry(life: &Life<'_>, wait: Duration) -> Ending {
    let retries = life.received.headers.retries.saturating_add(1);
    let eta = clock::now().checked_add(wait).ok().filter(|_| !wait.is_zero());
    let mut message = life.received.message.clone();
    TaskHeaders::next_attempt(&mut message.headers, retries, eta);
    send_held(life, message, wait).await
}

/// Sends a task that came too early back to its queue, to arrive when it is due.
pub(crate) async fn hold(life: &Life<'_>, wait: Duration) -> Ending {
    let mut message = life.received.message.clone();
    message.headers.strip_deaths();
    send_held(life, message, wait).await
}

async fn send_held(life: &Life<'_>, mut message: Message, wait: Duration) -> Ending {
    let TaskHeaders { task, id, .. } = &life.received.headers;
    let queue = &life.received.origin.queue;
    // Expiry goes on by its header; the broker's own counts from the start in each level of a delay.
    message.properties.expiration = None;
    let (exchange, routing_key) = delay::delayed_address(wait, queue).unwrap_or_else(|| ("", queue.to_string()));
    let sending = async {
        let span = PublishSpan::start(task, id, "", queue);
        span.inject(&mut message.headers);
        let sent = send(life.core, Outgoing { exchange: Cow::Borrowed(exchange), routing_key, message }).await;
        span.end(if sent.is_ok() { Ok(()) } else { Err(&"the worker stopped before it was sent") });
        sent
    };
    life.span.run(sending).await.into()
}

/// Puts the message of a task on the dead-letter queue, with the reason.
pub(crate) async fn dead_letter(life: &Life<'_>, reason: &'static str, error: &str) -> Ending {
    let TaskHeaders { task, id, .. } = &life.received.headers;
    let origin = &life.received.origin;
    life.span.tell(&MessageDeadLettered { queue: &origin.queue, reason, error, task: Some(task), id: Some(id) });
    let message = life.received.message.clone();
    send_dead(life.core, message, origin, reason, error).await
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
    let (reason, error) = (unusable.reason(), unusable.to_string());
    MessageDeadLettered { queue: &origin.queue, reason, error: &error, task: task.as_deref(), id: id.as_deref() }
        .tell();
    let ending = send_dead(core, message, origin, reason, &error).await;
    let (Ending::Done, Some(id), Some(results)) = (ending, id, &core.results) else { return ending };
    let failure = Failure::new(unusable.kind(), error);
    let row = record::unread_row(core, origin, id, task.unwrap_or_default(), failure, received_at);
    // A row that the store will never take is no loss: the message stands in the dead-letter queue already.
    results.record(core, row).await.unwrap_or(Ending::Done)
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
    let routing_key = dead_letter_queue(&origin.queue);
    match send(core, Outgoing { exchange: Cow::Borrowed(""), routing_key, message }).await {
        Err(Unsent::Impossible) => Ending::Refused,
        sent => sent.into(),
    }
}

/// Why a message that has to be sent is not.
pub(crate) enum Unsent {
    /// The worker stops.
    Interrupted,
    /// It cannot be sent, today or later.
    Impossible,
}

impl From<Result<(), Unsent>> for Ending {
    fn from(sent: Result<(), Unsent>) -> Self {
        match sent {
            Ok(()) => Self::Done,
            Err(Unsent::Interrupted) => Self::Again,
            Err(Unsent::Impossible) => Self::Refused,
        }
    }
}

impl From<Interrupted> for Unsent {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}

/// Publishes until it is confirmed.
async fn send(core: &Core, outgoing: Outgoing) -> Result<(), Unsent> {
    let mut backoff = Backoff::default();
    loop {
        let error = match core.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let told = celeriac_telemetry::Chain(&error).to_string();
        FollowUpFailed { exchange: &outgoing.exchange, routing_key: &outgoing.routing_key, error: &told }.tell();
        match error {
            BrokerError::TooLarge { .. } | BrokerError::Invalid { .. } => return Err(Unsent::Impossible),
            BrokerError::Unroutable { .. } | BrokerError::NoSuchQueue { .. } | BrokerError::NoSuchExchange { .. } => {
                // Somebody deleted what this worker had declared: it is declared again, and then tried again.
                if let Err(error) = core.broker.declare(&core.topology).await {
                    tracing::warn!(%error, "cannot declare what a follow-up needs");
                }
            }
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = core.world.interrupt.cancelled() => return Err(Unsent::Interrupted),
        }
    }
}

/// Waits that double, each shortened by chance.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        const POLICY: celeriac_protocol::RetryPolicy =
            celeriac_protocol::RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(10));
        let wait = POLICY.wait(self.0, fastrand::f64());
        self.0 = self.0.saturating_add(1);
        wait
    }
}
