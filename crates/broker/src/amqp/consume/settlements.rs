//! The settlements of one consumer: collected from the deliveries, and sent in groups.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapin::Channel;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::acks::send_acks;
use crate::settle::{AckBatcher, Command, Settled, Settlement};

/// Number of acknowledgements that are sent together. A larger group is no faster.
const GROUP: usize = 16;

/// Longest time that an acknowledgement waits for others.
const LINGER: Duration = Duration::from_millis(4);

/// The settlements of one consumer.
pub(super) struct Settlements {
    /// Sender for new settlements, until the last delivery has its own.
    verdicts: Option<mpsc::UnboundedSender<Settled>>,
    settled: mpsc::UnboundedReceiver<Settled>,
    batcher: AckBatcher,
    /// The batcher's epoch, which settlements compare with their own.
    epoch: Arc<AtomicU64>,
    /// Number of acknowledgements that are sent together.
    group: usize,
    commands: Vec<Command>,
}

impl Settlements {
    /// Returns the settlements of a consumer that has at most `room` unsettled deliveries.
    pub(super) fn new(room: u16) -> Self {
        // Unbounded, but the prefetch limits it, because each delivery is settled once.
        let (verdicts, settled) = mpsc::unbounded_channel();
        let batcher = AckBatcher::new();
        Self {
            verdicts: Some(verdicts),
            settled,
            epoch: Arc::new(AtomicU64::new(batcher.epoch())),
            batcher,
            group: group_of(room),
            commands: Vec::new(),
        }
    }

    /// Sets the largest number of unsettled deliveries.
    pub(super) fn group_within(&mut self, room: u16) {
        self.group = group_of(room);
    }

    /// Returns the settlement of a new delivery, or `None` after [`no_more`](Self::no_more).
    pub(super) fn of_delivery(&mut self, tag: u64, queue: &Arc<str>) -> Option<Settlement> {
        self.batcher.delivered(tag);
        let settlement = Settlement::new(self.batcher.epoch(), tag, Arc::clone(queue), self.verdicts.clone()?);
        Some(settlement.void_after(Arc::clone(&self.epoch)))
    }

    /// No further delivery arrives. [`next`](Self::next) then ends after the last settlement.
    pub(super) fn no_more(&mut self) {
        self.verdicts = None;
    }

    /// Starts a new epoch. The broker requeues all unsettled deliveries.
    pub(super) fn lose(&mut self) {
        self.epoch.store(self.batcher.reset(), Ordering::Release);
    }

    /// Waits for a settlement.
    pub(super) async fn next(&mut self) -> Option<Settled> {
        self.settled.recv().await
    }

    /// Drops every settlement, up to the last one.
    pub(super) async fn drop_all(&mut self) {
        while self.settled.recv().await.is_some() {}
    }

    /// Adds a settlement, and those after it that have arrived.
    pub(super) fn settle(&mut self, first: Settled) {
        self.batcher.settle(first, &mut self.commands);
        while let Ok(settled) = self.settled.try_recv() {
            self.batcher.settle(settled, &mut self.commands);
        }
    }

    /// Ends the group, whatever its size.
    pub(super) fn flush(&mut self) {
        self.batcher.flush(&mut self.commands);
    }

    /// Ends a full group, and any group that no unsettled delivery can join.
    pub(super) fn flush_if_due(&mut self) {
        let waiting = self.batcher.waiting();
        if waiting >= self.group || (waiting > 0 && self.batcher.is_finished()) {
            self.flush();
        }
    }

    /// Sends what was flushed.
    pub(super) fn send(&mut self, channel: &Channel) {
        send_acks(channel, self.commands.drain(..));
    }

    /// Starts the timer for the first acknowledgement that waits for others.
    pub(super) fn linger(&self, lingering: bool, clock: Pin<&mut Sleep>) -> bool {
        let linger = self.batcher.waiting() > 0;
        if linger && !lingering {
            clock.reset(Instant::now() + LINGER);
        }
        linger
    }

    /// Returns a settlement that has arrived.
    #[cfg(test)]
    pub(super) fn try_next(&mut self) -> Option<Settled> {
        self.settled.try_recv().ok()
    }

    /// Returns what was flushed and not sent.
    #[cfg(test)]
    pub(super) fn commands(&self) -> &[Command] {
        &self.commands
    }
}

/// Returns the number of acknowledgements that are sent together.
///
/// A group is smaller than the prefetch. Otherwise the broker could not deliver while the
/// acknowledgements wait.
fn group_of(room: u16) -> usize {
    usize::from(room / 4).clamp(1, GROUP)
}
