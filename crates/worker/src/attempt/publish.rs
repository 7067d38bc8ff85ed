//! Publishes the messages that a delivery causes.
//!
//! A message that cannot be sent is sent later. If the worker stops first, the delivery returns to
//! its queue.

use std::time::Duration;

use celeriac_broker::{Outgoing, PublishFault};
use celeriac_protocol::headers::names;
use celeriac_protocol::retry::{Backoff, RetryPolicy};
use celeriac_telemetry::events::worker::{FollowUpFailed, TopologyNotDeclared};
use celeriac_telemetry::{ErrorChain, Event};

use crate::attempt::{Disposition, Interrupted};
use crate::runtime::WorkerRuntime;

/// Waits between two attempts at an operation of broker or store.
pub(crate) const BACKOFF: RetryPolicy = RetryPolicy::backoff(Duration::from_millis(100), Duration::from_secs(10));

/// Attempts at an exchange or queue of another program that is missing or denied: about twenty
/// seconds in all.
const MAX_TRIES_ELSEWHERE: u32 = 8;

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
    /// Another program. The queue may be missing or denied to this user for good.
    External,
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
    let mut missing = 0;
    loop {
        let error = match runtime.broker.publish(outgoing.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.may_have_been_sent() {
            outgoing.message.headers.insert(names::REPEATED, true);
        }
        let told = ErrorChain(&error).to_string();
        let header = |name| outgoing.message.headers.text(name);
        FollowUpFailed {
            task: header(names::TASK),
            id: header(names::ID),
            exchange: &outgoing.exchange,
            routing_key: &outgoing.routing_key,
            error: &told,
        }
        .emit();
        match error.publish_fault() {
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
            PublishFault::Full | PublishFault::Passing | PublishFault::Program => {}
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait(fastrand::f64())) => {}
            () = runtime.interrupt().cancelled() => return Err(PublishFailure::Interrupted),
        }
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
