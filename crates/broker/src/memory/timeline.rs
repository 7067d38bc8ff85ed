//! What happens when time passes: delayed messages fall due, waiting ones expire.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use super::stored::{Position, Stored};
use crate::broker::Outgoing;

/// What happens at a certain time.
pub(super) enum Due {
    /// A delayed message is put on its queue.
    Deliver { queue: usize, stored: Box<Stored> },
    /// A delayed message goes to an exchange.
    Publish(Box<Outgoing>),
    /// A message that still waits in its queue is dead-lettered.
    Expire { queue: usize, position: Position },
}

/// What happens when, in order.
pub(super) struct Timeline {
    moments: BTreeMap<(Instant, u64), Due>,
    next: watch::Sender<Option<Instant>>,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { moments: BTreeMap::new(), next: watch::Sender::new(None) }
    }

    /// When something happens next. It changes only by [`Timeline::announce`].
    pub(super) fn next(&self) -> watch::Receiver<Option<Instant>> {
        self.next.subscribe()
    }

    /// Tells those who wait when something happens next, if that has changed.
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

    /// Watches over a message that waits in a queue.
    pub(super) fn watch(&mut self, queue: usize, stored: &Stored) {
        if let Some(when) = stored.expires {
            let position = stored.position;
            self.moments.insert((when, position.sequence), Due::Expire { queue, position });
        }
    }

    /// Stops watching over a message that leaves its queue.
    pub(super) fn unwatch(&mut self, stored: &Stored) {
        if let Some(when) = stored.expires {
            self.moments.remove(&(when, stored.position.sequence));
        }
    }

    /// The next thing that happens until `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Due> {
        let first = self.moments.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
