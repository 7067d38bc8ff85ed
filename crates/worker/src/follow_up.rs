//! What is sent because of a task: its next attempt, its place in the dead-letter queue, the tasks that follow from it,
//! the answer to who awaits it.
//!
//! Nothing here gives up: a message that cannot be sent now is sent later, or the worker stops and the delivery it
//! follows from goes back to its queue.

mod answer;
mod dead;
mod next;

use std::borrow::Cow;
use std::time::Duration;

use celeriac_broker::{Error as BrokerError, Outgoing};
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::FollowUpFailed;
use celeriac_telemetry::trace::PublishSpan;
use jiff::Timestamp;

use crate::lifecycle::{Core, Ending, Interrupted, Life, time_until};

pub(crate) use answer::{Answer, answer, answer_step};
pub(crate) use dead::{dead_letter, dead_letter_after, refuse_unread};
pub(crate) use next::{FollowUps, Unstartable, derived_id};

/// The broker counts whole seconds; what is shorter is waited out by the worker.
pub(crate) const SHORTEST_HOLD: Duration = Duration::from_secs(1);

/// Sends the next attempt of a task to the queue it came from, to arrive when it is due. `until` bounds all attempts together.
pub(crate) async fn retry(life: &Life<'_>, due: Timestamp, until: Option<Timestamp>) -> Ending {
    let retries = life.received.headers.retries.saturating_add(1);
    let wait = time_until(due);
    let eta = Some(due).filter(|_| !wait.is_zero());
    let mut message = life.received.message.clone();
    TaskHeaders::next_attempt(&mut message.headers, retries, eta);
    if let Some(until) = until {
        message.headers.set_retry_until(until);
    }
    send_held(life, message, nearly_whole(wait)).await
}

/// A wait that lacks less than a tenth to a whole second is that second: some time has passed since it was decided, and the
/// broker would cut off the rest, which would then be waited out here.
fn nearly_whole(wait: Duration) -> Duration {
    if wait.subsec_millis() >= 900 { Duration::from_secs(wait.as_secs().saturating_add(1)) } else { wait }
}

/// Sends a task that came too early back to its queue, to arrive when it is due.
pub(crate) async fn hold(life: &Life<'_>, wait: Duration) -> Ending {
    let mut message = life.received.message.clone();
    message.headers.strip_deaths();
    send_held(life, message, wait).await
}

/// Sends a task that its rate does not let start yet back to its queue, to ask again after a wait.
///
/// Nothing of it has run, so this is no attempt. A worker that dies between this and the acknowledgement leaves two
/// messages; the header makes each of them look into the store.
pub(crate) async fn send_round(life: &Life<'_>, wait: Duration, rounds: u32) -> Ending {
    let mut message = life.received.message.clone();
    message.headers.strip_deaths();
    message.headers.insert(names::ROUNDS, rounds);
    send_held(life, message, wait).await
}

/// Sends a suspect back to its queue, to come again when it may have its turn.
pub(crate) async fn hold_suspect(life: &Life<'_>, wait: Duration) -> Ending {
    let mut message = life.received.message.clone();
    message.headers.strip_deaths();
    message.headers.insert(names::SUSPECTED, true);
    send_held(life, message, wait).await
}

async fn send_held(life: &Life<'_>, mut message: Message, wait: Duration) -> Ending {
    let TaskHeaders { task, id, .. } = &life.received.headers;
    let queue = &life.received.origin.queue;
    // Expiry goes on by its header; the broker's own counts from the start in each level of a delay.
    message.properties.expiration = None;
    let held = life.core.broker.ladder().address(wait, queue);
    let (exchange, routing_key) = held.unwrap_or_else(|| (String::new(), queue.to_string()));
    let sending = async {
        let span = PublishSpan::start(task, id, "", queue);
        span.inject(&mut message.headers);
        let sent =
            send(life.core, Outgoing { exchange: Cow::Owned(exchange), routing_key, message, mandatory: true }).await;
        span.end(if sent.is_ok() { Ok(()) } else { Err(&"the worker stopped before it was sent") });
        sent
    };
    life.span.run(sending).await.into()
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

/// Publishes to where this worker itself has to be able to publish, until it is confirmed.
async fn send(core: &Core, outgoing: Outgoing) -> Result<(), Unsent> {
    publish(core, outgoing, Address::Own).await
}

/// Whose queue a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    /// One that this worker declares: where it is missing it is made, and then there.
    Own,
    /// Anybody's: it may be missing for good.
    Foreign,
}

/// How often a message is sent to a queue that is not there, before it is given up: some twenty seconds.
const PATIENCE_WITH_STRANGERS: u32 = 8;

async fn publish(core: &Core, outgoing: Outgoing, address: Address) -> Result<(), Unsent> {
    let mut backoff = Backoff::default();
    let mut missing = 0;
    loop {
        let error = match core.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let told = celeriac_telemetry::ErrorChain(&error).to_string();
        FollowUpFailed { exchange: &outgoing.exchange, routing_key: &outgoing.routing_key, error: &told }.emit();
        match error {
            BrokerError::TooLarge { .. } | BrokerError::Invalid { .. } => return Err(Unsent::Impossible),
            BrokerError::Unroutable { .. } | BrokerError::NoSuchQueue { .. } | BrokerError::NoSuchExchange { .. } => {
                missing += 1;
                if address == Address::Foreign && missing > PATIENCE_WITH_STRANGERS {
                    return Err(Unsent::Impossible);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_was_whole_when_it_was_decided_stays_so() {
        let millis = Duration::from_millis;
        for (wait, held) in [(999, 1_000), (4_950, 5_000), (4_899, 4_899), (1_000, 1_000), (0, 0)] {
            assert_eq!(nearly_whole(millis(wait)), millis(held), "{wait}");
        }
    }
}
