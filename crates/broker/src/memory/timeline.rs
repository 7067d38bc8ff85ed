//! Events at a point in time: delayed messages become due, ready ones expire.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use super::stored::{Position, Stored};
use crate::broker::Outgoing;

/// An event at a point in time.
pub(super) enum Due {
    /// A delayed message moves to its queue.
    Deliver { queue: usize, stored: Box<Stored> },
    /// A delayed message moves to an exchange.
    Publish(Box<Outgoing>),
    /// A message that is still ready in its queue is dead-lettered.
    Expire { queue: usize, position: Position },
}

/// Future events, in order.
pub(super) struct Timeline {
    moments: BTreeMap<(Instant, u64), Due>,
    next: watch::Sender<Option<Instant>>,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { moments: BTreeMap::new(), next: watch::Sender::new(None) }
    }

    /// Returns a watch of the next event's time. Only [`Timeline::announce`] changes it.
    pub(super) fn next(&self) -> watch::Receiver<Option<Instant>> {
        self.next.subscribe()
    }

    /// Sends the time of the next event to its watchers, if it has changed.
    pub(super) fn announce(&self) {
        let next = self.moments.keys().next().map(|(when, _)| *when);
        self.next.send_if_modified(|told| std::mem::replace(told, next) != next);
    }

    pub(super) fn deliver_at(&mut self, when: Instant, queue: usize, stored: Stored) {
        self.moments.insert((when, stored.position.sequence), Due::Deliver { queue, stored: Box::new(stored) });
    }

    pub(super) fn publish_at(&mut self, when: Instant, number: u64, outgoing: Outgoing) {
        self.moments.insert((when, number), Due::Publish(Box::new(outgoing)));
    }

    /// Adds the expiration of a message on a queue.
    pub(super) fn watch(&mut self, queue: usize, stored: &Stored) {
        if let Some(when) = stored.expires {
            let position = stored.position;
            self.moments.insert((when, position.sequence), Due::Expire { queue, position });
        }
    }

    /// Removes the expiration of a message that leaves its queue.
    pub(super) fn unwatch(&mut self, stored: &Stored) {
        if let Some(when) = stored.expires {
            self.moments.remove(&(when, stored.position.sequence));
        }
    }

    /// Removes and returns the next event up to `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let first = self.moments.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
