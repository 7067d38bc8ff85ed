//! Settlement of a delivery: acknowledge, reject or requeue.
//!
//! The settling methods of [`Settlement`] consume it, so no delivery is settled twice. Settlements
//! go to the driver of the consumer. The driver sends many acknowledgements in one frame, as
//! `AckBatcher` groups them.

mod ack_batcher;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::DeliveryDropped;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use ack_batcher::{AckBatcher, Command};

/// The settlement that a worker chooses for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettlementKind {
    /// The message is done, and the broker may delete it.
    Ack,
    /// The broker dead-letters the message.
    Reject,
    /// The broker delivers the message again.
    Requeue,
}

/// A settlement that is sent to the driver of the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The epoch of the tag. The tags of earlier epochs are void.
    pub(crate) epoch: u64,
    /// The delivery tag.
    pub(crate) tag: u64,
    /// The settlement.
    pub(crate) verdict: SettlementKind,
}

/// The settlement of one delivery, which has to be made once.
///
/// If it is dropped, it requeues the delivery and logs a warning: the program has a defect, but no
/// message is lost.
#[must_use = "a delivery has to be settled"]
pub struct Settlement {
    epoch: u64,
    tag: u64,
    queue: Arc<str>,
    arrived: Instant,
    driver: Option<mpsc::UnboundedSender<Settled>>,
    /// The driver's present epoch, if the delivery can become void.
    now: Option<Arc<AtomicU64>>,
}

impl Settlement {
    /// Returns the settlement of `tag`. The channel to the driver is unbounded, but the prefetch
    /// limits its content.
    pub(crate) fn new(epoch: u64, tag: u64, queue: Arc<str>, driver: mpsc::UnboundedSender<Settled>) -> Self {
        Self { epoch, tag, queue, arrived: Instant::now(), driver: Some(driver), now: None }
    }

    /// Returns the same settlement, which becomes void when `now` is another epoch.
    pub(crate) fn void_after(mut self, now: Arc<AtomicU64>) -> Self {
        self.now = Some(now);
        self
    }

    /// Returns `true` if the connection of the delivery was lost. A settlement then has no effect,
    /// because the broker redelivers the message.
    pub fn is_void(&self) -> bool {
        is_void(self.epoch, self.now.as_ref())
    }

    /// Returns the broker's number of the delivery.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Returns the time at which the delivery arrived.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Returns a handle that can acknowledge the delivery before this settlement is made.
    pub fn early_ack(&self) -> EarlyAck {
        let settled = Settled { epoch: self.epoch, tag: self.tag, verdict: SettlementKind::Ack };
        EarlyAck { settled, arrived: self.arrived, driver: self.driver.clone(), now: self.now.clone() }
    }

    /// Acknowledges the message: the broker may delete it.
    pub fn ack(self) {
        self.settle(SettlementKind::Ack);
    }

    /// Rejects the message: the broker dead-letters it, or discards it if the queue has no
    /// dead-letter queue.
    pub fn reject(self) {
        self.settle(SettlementKind::Reject);
    }

    /// Requeues the message: the broker redelivers it, to any consumer.
    pub fn requeue(self) {
        self.settle(SettlementKind::Requeue);
    }

    fn settle(mut self, verdict: SettlementKind) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: SettlementKind) {
        if let Some(driver) = self.driver.take() {
            // A driver that has ended has closed its channel, so the broker requeues the delivery.
            let _ = driver.send(Settled { epoch: self.epoch, tag: self.tag, verdict });
        }
    }
}

/// Acknowledges a delivery before its [`Settlement`] is made, which then has no effect.
///
/// Dropping it does nothing.
#[derive(Debug)]
pub struct EarlyAck {
    settled: Settled,
    arrived: Instant,
    driver: Option<mpsc::UnboundedSender<Settled>>,
    now: Option<Arc<AtomicU64>>,
}

impl EarlyAck {
    /// Returns the same as [`Settlement::is_void`].
    pub fn is_void(&self) -> bool {
        is_void(self.settled.epoch, self.now.as_ref())
    }

    /// Returns the time at which the delivery arrived.
    pub fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Acknowledges the message: the broker may delete it.
    pub fn ack(&self) {
        if let Some(driver) = &self.driver {
            // A driver that has ended has closed its channel, so the broker requeues the delivery.
            let _ = driver.send(self.settled);
        }
    }
}

/// Returns `true` if the driver has begun another epoch.
fn is_void(epoch: u64, now: Option<&Arc<AtomicU64>>) -> bool {
    now.is_some_and(|now| now.load(Ordering::Acquire) != epoch)
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if self.driver.is_none() {
            return;
        }
        if !self.is_void() {
            DeliveryDropped { queue: &self.queue, tag: self.tag }.emit();
        }
        self.send(SettlementKind::Requeue);
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settlement").field("queue", &self.queue).field("tag", &self.tag).finish_non_exhaustive()
    }
}
