//! Publishes messages that are sent because of a delivery.
//!
//! Nothing here gives up: a message that cannot be sent now is sent later, or the worker stops and the delivery it follows
//! from goes back to its queue.

use std::time::Duration;

use celeriac_broker::{Error as BrokerError, Outgoing};
use celeriac_protocol::headers::names;
use celeriac_protocol::retry::{Backoff, RetryPolicy};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::FollowUpFailed;

use crate::attempt::{Disposition, Interrupted};
use crate::runtime::WorkerRuntime;

/// Waits between two tries at something that broker or store have to do.
pub(crate) const BACKOFF: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(10));

/// Tries at a queue that is not there, before a message is given up: some twenty seconds.
const MAX_TRIES_ELSEWHERE: u32 = 8;

/// Why a message that has to be sent is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishFailure {
    /// The worker stops.
    Interrupted,
    /// It cannot be sent, today or later.
    Impossible,
}

/// Whose queue a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// One that this worker declares: where it is missing it is made, and then there.
    Own,
    /// Anybody's: it may be missing for good.
    Foreign,
}

/// Publishes until it is confirmed.
///
/// # Errors
/// The worker stops first, or the message can never be sent.
pub(crate) async fn publish_until_confirmed(
    runtime: &WorkerRuntime,
    mut outgoing: Outgoing,
    recipient: Recipient,
) -> Result<(), PublishFailure> {
    let mut backoff = Backoff::new(BACKOFF);
    let mut missing = 0;
    loop {
        let error = match runtime.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.may_be_queued() {
            outgoing.message.headers.insert(names::REPEATED, true);
        }
        let told = celeriac_telemetry::ErrorChain(&error).to_string();
        FollowUpFailed { exchange: &outgoing.exchange, routing_key: &outgoing.routing_key, error: &told }.emit();
        match error {
            BrokerError::TooLarge { .. } | BrokerError::HeadersTooLarge { .. } | BrokerError::Invalid { .. } => {
                return Err(PublishFailure::Impossible);
            }
            BrokerError::Unroutable { .. } | BrokerError::NoSuchQueue { .. } | BrokerError::NoSuchExchange { .. } => {
                missing += 1;
                if recipient == Recipient::Foreign && missing > MAX_TRIES_ELSEWHERE {
                    return Err(PublishFailure::Impossible);
                }
                // Somebody deleted what this worker had declared: it is declared again, and then tried again.
                if let Err(error) = runtime.broker.declare(&runtime.topology).await {
                    tracing::warn!(%error, "cannot declare what a follow-up needs");
                }
            }
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait(fastrand::f64())) => {}
            () = runtime.interrupt().cancelled() => return Err(PublishFailure::Interrupted),
        }
    }
}

/// The disposition of a delivery once a message that follows from it was sent, or was not.
pub(crate) fn disposition_after(sent: Result<(), PublishFailure>) -> Disposition {
    match sent {
        Ok(()) => Disposition::Done,
        Err(PublishFailure::Interrupted) => Disposition::Requeue,
        Err(PublishFailure::Impossible) => Disposition::Reject,
    }
}

impl From<Interrupted> for PublishFailure {
    fn from(Interrupted: Interrupted) -> Self {
        Self::Interrupted
    }
}
