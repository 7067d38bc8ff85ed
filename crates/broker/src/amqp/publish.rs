//! Publishing: a message is on a queue on disk, or its sender has an error.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use celeriac_protocol::headers::names;
use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::backoff::Backoff;
use super::connection::{Connections, Purpose};
use super::convert::Envelope;
use super::flights::Fate;
use super::line::{Line, Parcel};
use super::slot::Slot;
use crate::broker::Outgoing;
use crate::error::{Error, Result};
use crate::headers;
use crate::options::BrokerOptions;

/// How many exchanges are tried out at the same time.
const INTRODUCTIONS: usize = 4;

/// How often a message is refused before its sender is told: some five seconds, in which a cluster finds a new leader for a
/// queue, and a full queue may find room.
const REFUSALS: u32 = 6;

/// Publishes on a few long-lived channels.
///
/// A message for an exchange that does not exist, or that this user must not write to, makes the broker close the channel,
/// and everybody else's confirms are lost with it. So the first message for an exchange travels alone, on a channel of its
/// own, and the others wait for it. Should a shared channel be closed nevertheless, each message in the air is published
/// again alone, and the one that was to blame is found out.
///
/// A refused message is published again for a while, and soon on another channel: a channel that RabbitMQ 3.10 has opened
/// while a quorum queue was without a leader refuses everything for that queue until the old leader is back.
///
/// A message that was in the air when its connection was lost is published again: it may arrive twice, and is never lost. The
/// second says so in a header, for its worker to look into the store before it runs.
#[derive(Debug)]
pub(super) struct Publisher {
    connections: Arc<Connections>,
    window: Arc<Semaphore>,
    slots: Vec<Slot>,
    next_slot: AtomicUsize,
    /// Exchanges that took a message.
    trusted: RwLock<HashSet<String>>,
    introductions: Semaphore,
    timeout: Duration,
}

impl Publisher {
    pub(super) fn new(connections: Arc<Connections>, options: &BrokerOptions) -> Self {
        Self {
            connections,
            window: Arc::new(Semaphore::new(options.confirm_window.min(Semaphore::MAX_PERMITS))),
            slots: (0..options.publish_channels).map(|_| Slot::default()).collect(),
            next_slot: AtomicUsize::new(0),
            trusted: RwLock::new(HashSet::from([String::new()])),
            introductions: Semaphore::new(INTRODUCTIONS),
            timeout: options.publish_timeout,
        }
    }

    /// Publishes a message, and waits for its fate.
    pub(super) async fn publish(&self, outgoing: Outgoing) -> Result<()> {
        // More would end the connection, and everything else that is in the air on it.
        headers::check(&outgoing.message.headers, headers::MAX)?;
        let began = Instant::now();
        let mut word = Word::default();
        match timeout_at(began + self.timeout, self.deliver(Box::new(outgoing), &mut word)).await {
            Ok(result) => result,
            Err(_) => Err(self.overdue(began.elapsed(), word)),
        }
    }

    /// Lets nobody wait any longer.
    pub(super) fn close(&self) {
        self.window.close();
        self.introductions.close();
    }

    async fn deliver(&self, mut outgoing: Box<Outgoing>, word: &mut Word) -> Result<()> {
        let mut alone = false;
        let mut backoff = Backoff::default();
        let mut refusals = 0;
        loop {
            self.connections.around().board.unblocked().await;
            let fate = if alone || !self.is_trusted(&outgoing.exchange) {
                match Box::pin(self.send_alone(outgoing, alone, word)).await? {
                    Ok(fate) => fate,
                    Err(unsent) => {
                        outgoing = unsent;
                        continue;
                    }
                }
            } else {
                self.send(outgoing, word).await?
            };
            match fate {
                Fate::Stored(_) => return Ok(()),
                Fate::Returned(outgoing) => return Err(returned(*outgoing)),
                Fate::Refused(refused) => {
                    refusals += 1;
                    if refusals == REFUSALS {
                        return Err(refusal(&refused));
                    }
                    *word = Word::No(refusal(&refused));
                    backoff.wait().await;
                    outgoing = repeated(refused);
                }
                Fate::Suspect(suspect, _) => {
                    alone = true;
                    outgoing = repeated(suspect);
                }
                Fate::Lost(lost) => outgoing = repeated(lost),
            }
        }
    }

    /// Publishes on a shared channel.
    async fn send(&self, outgoing: Box<Outgoing>, word: &mut Word) -> Result<Fate> {
        let mut parcel = Parcel { outgoing, _place: self.place().await? };
        let slot = &self.slots[self.next_slot.fetch_add(1, Ordering::Relaxed) % self.slots.len()];
        let fate = loop {
            let envelope = Envelope::new(&parcel.outgoing)?;
            match slot.send(envelope, parcel) {
                Ok(fate) => break fate,
                Err(refused) => parcel = refused,
            }
            Box::pin(slot.fill(self.open())).await?;
        };
        *word = Word::Pending;
        // The task of the channel always answers, unless this program closes the broker.
        let fate = fate.await.map_err(|_| Error::Closed)?;
        if matches!(fate, Fate::Refused(_)) {
            slot.leave_stale();
        }
        Ok(fate)
    }

    async fn open(&self) -> Result<Line> {
        loop {
            let channel = self.connections.channel().await?;
            // A channel that ends at once had its connection lost; the next attempt waits for another.
            if let Ok(line) = Line::open(channel, self.connections.around()).await {
                return Ok(line);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Publishes on a channel of its own. Hands the message back unsent when the channel has ended, or when its exchange was
    /// introduced by another meanwhile, unless it is a `suspect`.
    async fn send_alone(
        &self,
        outgoing: Box<Outgoing>,
        suspect: bool,
        word: &mut Word,
    ) -> Result<Result<Fate, Box<Outgoing>>> {
        let _introduction = self.introductions.acquire().await.map_err(|_| Error::Closed)?;
        if !suspect && self.is_trusted(&outgoing.exchange) {
            return Ok(Err(outgoing));
        }
        let envelope = Envelope::new(&outgoing)?;
        let exchange = outgoing.exchange.clone();
        let parcel = Parcel { outgoing, _place: self.place().await? };
        let fate = match self.open().await?.send(envelope, parcel) {
            Ok(fate) => fate,
            Err(unsent) => return Ok(Err(unsent.outgoing)),
        };
        *word = Word::Pending;
        match fate.await.map_err(|_| Error::Closed)? {
            Fate::Suspect(outgoing, error) => {
                self.trusted.write().unwrap_or_else(PoisonError::into_inner).remove(exchange.as_ref());
                Err(self.blame(*outgoing, error))
            }
            Fate::Lost(outgoing) => Ok(Ok(Fate::Lost(outgoing))),
            fate => {
                self.trusted.write().unwrap_or_else(PoisonError::into_inner).insert(exchange.into_owned());
                Ok(Ok(fate))
            }
        }
    }

    fn is_trusted(&self, exchange: &str) -> bool {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).contains(exchange)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.window).acquire_owned().await.map_err(|_| Error::Closed)
    }

    /// What the broker has against a message that was alone on its channel.
    fn blame(&self, outgoing: Outgoing, error: lapin::Error) -> Error {
        let Outgoing { exchange, message, .. } = outgoing;
        let ErrorKind::ProtocolError(said) = error.kind() else { return amqp("publishing", error) };
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Error::NoSuchExchange { exchange: exchange.into_owned() },
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                Error::Denied { url: self.connections.shown(), reason: said.get_message().to_string() }
            }
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                match largest_allowed(said.get_message().as_str()) {
                    Some(limit) => Error::TooLarge { size: message.body.len(), limit },
                    None => amqp("publishing", error),
                }
            }
            _ => amqp("publishing", error),
        }
    }

    /// Why the deadline has passed.
    fn overdue(&self, waited: Duration, word: Word) -> Error {
        let board = &self.connections.around().board;
        if let Some(reason) = board.blocked() {
            return Error::Blocked { reason, waited };
        }
        match word {
            Word::No(refusal) => refusal,
            Word::Unsent if !board.is_up(Purpose::Publish) => {
                let source = board.trouble(Purpose::Publish).map(Into::into);
                Error::Unreachable { url: self.connections.shown(), waited, source }
            }
            Word::Unsent | Word::Pending => Error::Unconfirmed { waited },
        }
    }
}

/// What the broker has last said to a message.
#[derive(Debug, Default)]
enum Word {
    #[default]
    Unsent,
    /// It is in the air, or was when its connection was lost.
    Pending,
    No(Error),
}

/// A message that is published again although it may be on a queue already.
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

/// Anything that has no error of its own.
pub(super) fn amqp(doing: &str, error: lapin::Error) -> Error {
    Error::Amqp { doing: doing.to_owned(), source: Box::new(error) }
}

/// The bound in RabbitMQ's `message size 17 is larger than configured max size 16`.
fn largest_allowed(said: &str) -> Option<usize> {
    let (_, bound) = said.split_once("max size ")?;
    bound.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_own_bound_is_understood() {
        let said = "PRECONDITION_FAILED - message size 17 is larger than configured max size 16";
        assert_eq!(largest_allowed(said), Some(16));
        let said = "PRECONDITION_FAILED - message size 17 larger than max size 16";
        assert_eq!(largest_allowed(said), Some(16));
        assert_eq!(largest_allowed("PRECONDITION_FAILED - invalid expiration 'x'"), None);
    }
}
