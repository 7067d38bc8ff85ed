//! What becomes of a delivery: acknowledge, reject or requeue.
//!
//! A [`Settlement`] is used up by the one verdict it takes, so nothing is settled twice. Verdicts go to the driver of the
//! consumer, which tells the broker of many acknowledgements in one frame: `AckBatcher` says which.

mod ack_batcher;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

pub(crate) use ack_batcher::{AckBatcher, Command};

/// What a worker says of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettlementKind {
    /// Done with: the broker may forget it.
    Ack,
    /// Not wanted: the broker dead-letters it.
    Reject,
    /// Not now: the broker delivers it again.
    Requeue,
}

/// A verdict on its way to the driver of the consumer that delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The channel's life in which the tag was given: a tag of an earlier one means nothing now.
    pub(crate) epoch: u64,
    /// The delivery tag.
    pub(crate) tag: u64,
    /// What is said of it.
    pub(crate) verdict: SettlementKind,
}

/// The duty to settle one delivery.
///
/// One that is dropped unsettled requeues its delivery, and says so in the log: that is a mistake of the program, but
/// never a lost message.
#[must_use = "a delivery has to be settled"]
pub struct Settlement {
    epoch: u64,
    tag: u64,
    queue: Arc<str>,
    driver: Option<mpsc::UnboundedSender<Settled>>,
    /// The epoch that the driver is in now, where deliveries can become void.
    now: Option<Arc<AtomicU64>>,
}

impl Settlement {
    /// The duty to settle `tag`. The channel to the driver has no bound of its own; the prefetch bounds it.
    pub(crate) fn new(epoch: u64, tag: u64, queue: Arc<str>, driver: mpsc::UnboundedSender<Settled>) -> Self {
        Self { epoch, tag, queue, driver: Some(driver), now: None }
    }

    /// The same, void as soon as `now` is another epoch than the one it was made in.
    pub(crate) fn void_after(mut self, now: Arc<AtomicU64>) -> Self {
        self.now = Some(now);
        self
    }

    /// Whether the broker has taken the delivery back, because its connection was lost: whatever is said of it here is
    /// not heard, and somebody gets it again.
    pub fn is_void(&self) -> bool {
        self.now.as_ref().is_some_and(|now| now.load(Ordering::Acquire) != self.epoch)
    }

    /// Done with: the broker may forget it.
    pub fn ack(self) {
        self.settle(SettlementKind::Ack);
    }

    /// Not wanted: the broker dead-letters it, where the queue has a dead-letter queue, and forgets it where not.
    pub fn reject(self) {
        self.settle(SettlementKind::Reject);
    }

    /// Not now: the broker delivers it again, to anybody.
    pub fn requeue(self) {
        self.settle(SettlementKind::Requeue);
    }

    fn settle(mut self, verdict: SettlementKind) {
        self.send(verdict);
    }

    fn send(&mut self, verdict: SettlementKind) {
        if let Some(driver) = self.driver.take() {
            // A driver that is gone took its channel with it: the broker has the delivery back already.
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
            tracing::error!(queue = %self.queue, tag = self.tag, "a delivery was dropped unsettled; it goes back to its queue");
        }
        self.send(SettlementKind::Requeue);
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settlement").field("queue", &self.queue).field("tag", &self.tag).finish_non_exhaustive()
    }
}
