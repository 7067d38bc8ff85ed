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

pub(crate) use ack_batcher::{AckBatcher, Command};

/// The settlement that a worker chooses for a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettlementKind {
    /// The message is done, and the broker may forget it.
    Ack,
    /// The broker dead-letters the message.
    Reject,
    /// The broker delivers the message again.
    Requeue,
}

/// A settlement on its way to the driver of the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The epoch of the tag. A tag of an earlier epoch is void.
    pub(crate) epoch: u64,
    /// The delivery tag.
    pub(crate) tag: u64,
    /// The settlement.
    pub(crate) verdict: SettlementKind,
}

/// The duty to settle one delivery.
///
/// A `Settlement` that is dropped requeues its delivery and logs a warning. That is a mistake of
/// the program, but no message is lost.
#[must_use = "a delivery has to be settled"]
pub struct Settlement {
    epoch: u64,
    tag: u64,
    queue: Arc<str>,
    driver: Option<mpsc::UnboundedSender<Settled>>,
    /// The driver's present epoch, for deliveries that can become void.
    now: Option<Arc<AtomicU64>>,
}

impl Settlement {
    /// Returns the duty to settle `tag`. The channel to the driver is unbounded; the prefetch
    /// bounds its content.
    pub(crate) fn new(epoch: u64, tag: u64, queue: Arc<str>, driver: mpsc::UnboundedSender<Settled>) -> Self {
        Self { epoch, tag, queue, driver: Some(driver), now: None }
    }

    /// Returns the same duty, void as soon as `now` is another epoch.
    pub(crate) fn void_after(mut self, now: Arc<AtomicU64>) -> Self {
        self.now = Some(now);
        self
    }

    /// Returns `true` if the broker has the delivery back, because its connection was lost. A
    /// settlement then has no effect, and the broker delivers the message again.
    pub fn is_void(&self) -> bool {
        self.now.as_ref().is_some_and(|now| now.load(Ordering::Acquire) != self.epoch)
    }

    /// Acknowledges the message: the broker may forget it.
    pub fn ack(self) {
        self.settle(SettlementKind::Ack);
    }

    /// Rejects the message: the broker dead-letters it, or discards it if the queue has no
    /// dead-letter queue.
    pub fn reject(self) {
        self.settle(SettlementKind::Reject);
    }

    /// Requeues the message: the broker delivers it again, to any consumer.
    pub fn requeue(self) {
        self.settle(SettlementKind::Requeue);
    }

    fn settle(mut self, verdict: SettlementKind) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: SettlementKind) {
        if let Some(driver) = self.driver.take() {
            // A driver that has ended took its channel with it, so the broker has the delivery
            // back.
            let _ = driver.send(Settled { epoch: self.epoch, tag: self.tag, verdict });
        }
    }
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
