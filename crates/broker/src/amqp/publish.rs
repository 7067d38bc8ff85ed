//! Publishes messages. A publish ends with the message on a queue on disk, or with an error.
//!
//! - `channel`: a channel in confirm mode, shared by many senders;
//! - `confirms`: matches confirms, refusals and returns with the messages of a channel.

mod channel;
mod confirms;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use celeriac_protocol::headers::names;
use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use self::channel::{ChannelSlot, ConfirmChannel};
use self::confirms::{PendingPublish, PublishOutcome};
use super::connection::{ChannelProvider, ConnectionPurpose, ReconnectBackoff};
use super::convert::Envelope;
use super::error::client_error;
use crate::broker::Outgoing;
use crate::error::{Error, Result};
use crate::headers;
use crate::options::BrokerOptions;

/// Number of exchanges that are probed at one time.
const PROBES: usize = 4;

/// Number of refusals after which the sender gets the error. The attempts take about five seconds.
/// In that time a cluster elects a new leader for a queue, and a full queue may gain room.
const REFUSALS: u32 = 6;

/// Publishes on a few long-lived channels.
///
/// If an exchange does not exist, or this user may not write to it, the broker closes the channel,
/// and the confirms of all other messages on it are lost. So the first message to an exchange is
/// sent alone, on a channel of its own, while other messages to it wait. If a shared channel is
/// closed nevertheless, each unconfirmed message is published again alone, which shows the message
/// at fault.
///
/// A refused message is published again for a while, and soon on another channel. If RabbitMQ 3.10
/// opened a channel while a quorum queue had no leader, it refuses every message to that queue on
/// that channel until the old leader returns.
///
/// An unconfirmed message of a lost connection is published again. It may arrive twice, and is
/// never lost. The second copy has a header, so that its worker first reads the store.
#[derive(Debug)]
pub(super) struct Publisher {
    channels: Arc<ChannelProvider>,
    window: Arc<Semaphore>,
    slots: Vec<ChannelSlot>,
    next_slot: AtomicUsize,
    /// Exchanges that have accepted a message.
    known_exchanges: RwLock<HashSet<String>>,
    probe_permits: Semaphore,
    timeout: Duration,
}

impl Publisher {
    pub(super) fn new(channels: Arc<ChannelProvider>, options: &BrokerOptions) -> Self {
        Self {
            channels,
            window: Arc::new(Semaphore::new(options.confirm_window.min(Semaphore::MAX_PERMITS))),
            slots: (0..options.publish_channels).map(|_| ChannelSlot::default()).collect(),
            next_slot: AtomicUsize::new(0),
            known_exchanges: RwLock::new(HashSet::from([String::new()])),
            probe_permits: Semaphore::new(PROBES),
            timeout: options.publish_timeout,
        }
    }

    /// Publishes a message, and waits for its outcome.
    pub(super) async fn publish(&self, outgoing: Outgoing) -> Result<()> {
        // Headers that are too large or malformed would close the connection or the channel, and
        // other messages on it would lose their confirms.
        headers::check_published(&outgoing.message.headers)?;
        let began = Instant::now();
        let mut last_reply = LastReply::default();
        match timeout_at(began + self.timeout, self.deliver(Box::new(outgoing), &mut last_reply)).await {
            Ok(result) => result,
            Err(_) => Err(self.overdue(began.elapsed(), last_reply)),
        }
    }

    /// Ends all waits and closes the channels. A shared connection stays open, because its owner
    /// may still use it.
    pub(super) fn close(&self) {
        self.window.close();
        self.probe_permits.close();
        self.slots.iter().for_each(ChannelSlot::clear);
    }

    async fn deliver(&self, mut outgoing: Box<Outgoing>, last_reply: &mut LastReply) -> Result<()> {
        let mut alone = false;
        let mut backoff = ReconnectBackoff::default();
        let mut refusals = 0;
        loop {
            self.channels.context().health.unblocked().await;
            let outcome = if alone || !self.is_known(&outgoing.exchange) {
                match Box::pin(self.send_alone(outgoing, alone, last_reply)).await? {
                    SingleAttempt::Sent(outcome) => outcome,
                    SingleAttempt::Unsent(unsent) => {
                        outgoing = unsent;
                        continue;
                    }
                }
            } else {
                self.send(outgoing, last_reply).await?
            };
            match outcome {
                PublishOutcome::Stored(_) => return Ok(()),
                PublishOutcome::Returned(outgoing) => return Err(returned(*outgoing)),
                PublishOutcome::Refused(refused) => {
                    refusals += 1;
                    if refusals == REFUSALS {
                        return Err(refusal(&refused));
                    }
                    *last_reply = LastReply::No(refusal(&refused));
                    backoff.wait().await;
                    outgoing = repeated(refused);
                }
                PublishOutcome::Suspect(suspect, _) => {
                    alone = true;
                    outgoing = repeated(suspect);
                }
                PublishOutcome::Lost(lost) => outgoing = repeated(lost),
            }
        }
    }

    /// Publishes on a shared channel.
    async fn send(&self, outgoing: Box<Outgoing>, last_reply: &mut LastReply) -> Result<PublishOutcome> {
        let mut pending = PendingPublish { outgoing, _permit: self.acquire_window().await? };
        let slot = &self.slots[self.next_slot.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        let outcome = loop {
            let envelope = Envelope::new(&pending.outgoing)?;
            match slot.send(envelope, pending) {
                Ok(outcome) => break outcome,
                Err(refused) => pending = refused,
            }
            Box::pin(slot.fill(self.open())).await?;
        };
        *last_reply = LastReply::Pending;
        // The channel's task always answers, unless this program closes the broker.
        let outcome = outcome.await.map_err(|_| Error::Closed)?;
        if matches!(outcome, PublishOutcome::Refused(_)) {
            slot.leave_stale();
        }
        Ok(outcome)
    }

    async fn open(&self) -> Result<ConfirmChannel> {
        loop {
            let channel = self.channels.open_channel().await?;
            // A channel that ends at once has lost its connection. The next attempt waits for a new
            // one.
            if let Ok(channel) = ConfirmChannel::open(channel, self.channels.context()).await {
                return Ok(channel);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Publishes on a channel of its own.
    ///
    /// Returns the message unsent if the channel has ended, or if another message has reached the
    /// exchange meanwhile, unless this message is a `suspect`.
    async fn send_alone(
        &self,
        outgoing: Box<Outgoing>,
        suspect: bool,
        last_reply: &mut LastReply,
    ) -> Result<SingleAttempt> {
        let _permit = self.probe_permits.acquire().await.map_err(|_| Error::Closed)?;
        if !suspect && self.is_known(&outgoing.exchange) {
            return Ok(SingleAttempt::Unsent(outgoing));
        }
        let envelope = Envelope::new(&outgoing)?;
        let exchange = outgoing.exchange.clone();
        let pending = PendingPublish { outgoing, _permit: self.acquire_window().await? };
        let outcome = match self.open().await?.send(envelope, pending) {
            Ok(outcome) => outcome,
            Err(unsent) => return Ok(SingleAttempt::Unsent(unsent.outgoing)),
        };
        *last_reply = LastReply::Pending;
        match outcome.await.map_err(|_| Error::Closed)? {
            PublishOutcome::Suspect(outgoing, error) => {
                self.known_exchanges.write().unwrap_or_else(PoisonError::into_inner).remove(exchange.as_ref());
                Err(Self::classify_channel_error(*outgoing, error))
            }
            PublishOutcome::Lost(outgoing) => Ok(SingleAttempt::Sent(PublishOutcome::Lost(outgoing))),
            outcome => {
                self.known_exchanges.write().unwrap_or_else(PoisonError::into_inner).insert(exchange.into_owned());
                Ok(SingleAttempt::Sent(outcome))
            }
        }
    }

    fn is_known(&self, exchange: &str) -> bool {
        self.known_exchanges.read().unwrap_or_else(PoisonError::into_inner).contains(exchange)
    }

    async fn acquire_window(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.window).acquire_owned().await.map_err(|_| Error::Closed)
    }

    /// Returns the error for a message that was alone on its channel.
    fn classify_channel_error(outgoing: Outgoing, error: lapin::Error) -> Error {
        let Outgoing { exchange, message, .. } = outgoing;
        let ErrorKind::ProtocolError(said) = error.kind() else { return client_error("publishing", error) };
        let (exchange, reason) = (exchange.into_owned(), said.get_message().to_string());
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Error::NoSuchExchange { exchange },
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Error::AccessRefused { exchange, reason },
            AMQPErrorKind::Soft(_) => match largest_allowed(&reason) {
                Some(limit) => Error::TooLarge { size: message.body.len(), limit },
                None => Error::NotAccepted { exchange, reason },
            },
            AMQPErrorKind::Hard(_) => client_error("publishing", error),
        }
    }

    /// Returns the error for a deadline that has passed.
    fn overdue(&self, waited: Duration, last_reply: LastReply) -> Error {
        let health = &self.channels.context().health;
        if let Some(reason) = health.blocked() {
            return Error::Blocked { reason, waited };
        }
        match last_reply {
            LastReply::No(refusal) => refusal,
            LastReply::Unsent if !health.is_up(ConnectionPurpose::Publish) => {
                let source = health.trouble(ConnectionPurpose::Publish).map(Into::into);
                Error::Unreachable { url: self.channels.shown(), waited, source }
            }
            LastReply::Unsent | LastReply::Pending => Error::Unconfirmed { waited },
        }
    }
}

/// Result of publishing on a channel of its own.
enum SingleAttempt {
    /// The message was sent.
    Sent(PublishOutcome),
    /// The message was not sent, and may be sent on a shared channel.
    Unsent(Box<Outgoing>),
}

/// The broker's last reply to a message.
#[derive(Debug, Default)]
enum LastReply {
    #[default]
    Unsent,
    /// No reply: the message is unconfirmed, or its connection was lost.
    Pending,
    No(Error),
}

/// Marks a message that is published again and may be on a queue already.
fn repeated(mut outgoing: Box<Outgoing>) -> Box<Outgoing> {
    outgoing.message.headers.insert(names::REPEATED, true);
    outgoing
}

fn refusal(outgoing: &Outgoing) -> Error {
    let Outgoing { exchange, routing_key, .. } = outgoing;
    Error::Refused { exchange: exchange.to_string(), routing_key: routing_key.clone() }
}

fn returned(outgoing: Outgoing) -> Error {
    let Outgoing { exchange, routing_key, .. } = outgoing;
    Error::Unroutable { exchange: exchange.into_owned(), routing_key }
}

/// Reads the limit in RabbitMQ's `message size 17 is larger than configured max size 16`.
fn largest_allowed(said: &str) -> Option<usize> {
    let (_, bound) = said.split_once("max size ")?;
    bound.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_in_the_brokers_message_is_read() {
        let said = "PRECONDITION_FAILED - message size 17 is larger than configured max size 16";
        assert_eq!(largest_allowed(said), Some(16));
        let said = "PRECONDITION_FAILED - message size 17 larger than max size 16";
        assert_eq!(largest_allowed(said), Some(16));
        assert_eq!(largest_allowed("PRECONDITION_FAILED - invalid expiration 'x'"), None);
    }
}
