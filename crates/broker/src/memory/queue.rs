//! The messages and consumers of one queue.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use celeriac_protocol::Value;
use celeriac_topology::{Overflow, QueueKind, QueueOptions};
use tokio::sync::mpsc;

use super::bounds::QueueBounds;
use super::stored::{Position, Stored};
use super::timeline::Timeline;
use crate::broker::Depth;
use crate::delivery::Delivery;
use crate::settle::{Settled, Settlement};

/// A queue.
pub(super) struct Queue {
    pub(super) name: Arc<str>,
    pub(super) kind: QueueKind,
    pub(super) max_priority: Option<u8>,
    pub(super) delivery_limit: Option<u32>,
    pub(super) bounds: QueueBounds,
    /// The queue for its dead letters. A dead-letter queue has none.
    pub(super) dead_letters: Option<usize>,
    pub(super) single_active_consumer: bool,
    /// True for a queue of one consumer, which is deleted with it.
    pub(super) for_replies: bool,
    ready: BTreeMap<Position, Stored>,
    takers: HashMap<u64, Taker>,
    /// Active consumers, in the order in which they take messages.
    turns: VecDeque<u64>,
}

/// The response to a message that arrives at a queue.
pub(super) enum Room {
    Enough,
    Refused { dead_letter: bool },
}

/// A consumer, as its queue sees it.
struct Taker {
    prefetch: usize,
    deliveries: mpsc::Sender<Delivery>,
    verdicts: mpsc::UnboundedSender<Settled>,
    last_tag: u64,
    /// Changes when the consumer is removed and its deliveries have returned.
    epoch: Arc<AtomicU64>,
    unsettled: BTreeMap<u64, Stored>,
}

impl Queue {
    pub(super) fn new(name: &str, options: &QueueOptions, dead_letters: Option<usize>) -> Self {
        Self {
            name: name.into(),
            kind: options.kind,
            max_priority: options.max_priority,
            delivery_limit: options.delivery_limit,
            bounds: QueueBounds::of(options),
            dead_letters,
            single_active_consumer: options.single_active_consumer,
            for_replies: false,
            ready: BTreeMap::new(),
            takers: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Returns the last position among messages of this priority.
    pub(super) fn position(&self, priority: Option<u8>, sequence: u64) -> Position {
        let rank = self.max_priority.map_or(0, |most| priority.unwrap_or(0).min(most));
        Position::new(rank, sequence)
    }

    /// Discards all messages.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
    }

    pub(super) fn put(&mut self, stored: Stored) {
        self.ready.insert(stored.position, stored);
    }

    pub(super) fn depth(&self) -> Depth {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Depth { ready: count(self.ready.len()), consumers: count(self.turns.len()) }
    }

    /// Returns the number of ready messages.
    pub(super) fn waiting(&self) -> u64 {
        self.ready.len() as u64
    }

    /// Removes and returns the first message.
    pub(super) fn take_first(&mut self) -> Option<Stored> {
        self.ready.pop_first().map(|(_, stored)| stored)
    }

    /// Returns the response to one more message.
    pub(super) fn room(&self, stored: &Stored) -> Room {
        let takes = self.bounds.take(self.ready.len(), self.bytes(), stored.message.body.len());
        match self.bounds.overflow {
            Overflow::RejectPublish if !takes => Room::Refused { dead_letter: false },
            Overflow::RejectPublishDlx if !takes => Room::Refused { dead_letter: true },
            _ => Room::Enough,
        }
    }

    /// Removes and returns the oldest message if the queue holds too many, or if no consumer can
    /// ever take it.
    pub(super) fn surplus(&mut self) -> Option<Stored> {
        let full = self.bounds.overflow == Overflow::DropHead && !self.bounds.hold(self.ready.len(), self.bytes());
        if full || self.kind == QueueKind::Stream {
            return self.ready.pop_first().map(|(_, stored)| stored);
        }
        None
    }

    /// Returns the bytes of ready bodies, if they are limited.
    fn bytes(&self) -> usize {
        if self.bounds.bytes.is_none() {
            return 0;
        }
        self.ready.values().map(|stored| stored.message.body.len()).sum()
    }

    /// Removes and returns a ready message, if it is still ready.
    pub(super) fn take(&mut self, position: Position) -> Option<Stored> {
        self.ready.remove(&position)
    }

    /// Returns `true` if a message has returned more often than the queue allows.
    pub(super) fn is_exhausted(&self, stored: &Stored) -> bool {
        self.delivery_limit.is_some_and(|limit| stored.returns > limit)
    }

    pub(super) fn subscribe(
        &mut self,
        id: u64,
        prefetch: u16,
        deliveries: mpsc::Sender<Delivery>,
        verdicts: mpsc::UnboundedSender<Settled>,
    ) {
        let taker = Taker {
            prefetch: most(prefetch),
            deliveries,
            verdicts,
            last_tag: 0,
            epoch: Arc::default(),
            unsettled: BTreeMap::new(),
        };
        self.takers.insert(id, taker);
        self.turns.push_back(id);
    }

    /// Sets the number of messages that a consumer may have unsettled.
    pub(super) fn set_prefetch(&mut self, id: u64, prefetch: u16) {
        if let Some(taker) = self.takers.get_mut(&id) {
            taker.prefetch = most(prefetch);
        }
    }

    /// Stops deliveries to a consumer, and returns the number that it has unsettled.
    pub(super) fn stop(&mut self, id: u64) -> usize {
        self.turns.retain(|turn| *turn != id);
        let Some(taker) = self.takers.get_mut(&id) else { return 0 };
        // The consumer's stream ends with the last sender.
        taker.deliveries = mpsc::channel(1).0;
        taker.unsettled.len()
    }

    /// Removes a consumer, and returns its unsettled messages.
    pub(super) fn unsubscribe(&mut self, id: u64) -> impl Iterator<Item = Stored> + use<> {
        self.turns.retain(|turn| *turn != id);
        let taker = self.takers.remove(&id);
        if let Some(taker) = &taker {
            taker.epoch.fetch_add(1, Ordering::Release);
        }
        taker.map(|taker| taker.unsettled).unwrap_or_default().into_values()
    }

    /// Returns the message of a delivery that is not settled yet.
    pub(super) fn settled(&mut self, id: u64, tag: u64) -> Option<Stored> {
        self.takers.get_mut(&id)?.unsettled.remove(&tag)
    }

    pub(super) fn unsettled(&self, id: u64) -> usize {
        self.takers.get(&id).map_or(0, |taker| taker.unsettled.len())
    }

    /// Delivers ready messages to consumers with room, in turn.
    pub(super) fn hand_out(&mut self, timeline: &mut Timeline) {
        let mut passed = 0;
        while passed < self.turns.len()
            && let Some(next) = self.ready.first_entry()
        {
            let taker = self.turns.front().and_then(|id| self.takers.get_mut(id));
            if self.single_active_consumer {
                // The first consumer gets all messages until it is gone.
                passed = self.turns.len();
            } else {
                self.turns.rotate_left(1);
            }
            match taker.filter(|taker| taker.has_room()) {
                Some(taker) => {
                    passed = 0;
                    let stored = next.remove();
                    timeline.unwatch(&stored);
                    taker.give(stored, &self.name, self.kind);
                }
                None => passed += 1,
            }
        }
    }
}

/// Returns the largest number for a prefetch of zero, which means no limit in AMQP.
pub(super) fn most(prefetch: u16) -> usize {
    usize::from(if prefetch == 0 { u16::MAX } else { prefetch })
}

impl Taker {
    /// Returns `true` if the consumer can take a message. A dropped one cannot, and its driver will
    /// remove it.
    fn has_room(&self) -> bool {
        self.unsettled.len() < self.prefetch && !self.deliveries.is_closed()
    }

    fn give(&mut self, stored: Stored, queue: &Arc<str>, kind: QueueKind) {
        self.last_tag += 1;
        let tag = self.last_tag;
        // The consumer may be dropped at this point. The message is then requeued with its other
        // deliveries.
        if let Ok(permit) = self.deliveries.try_reserve() {
            let mut message = stored.message.clone();
            if kind == QueueKind::Quorum && stored.returns > 0 {
                message.headers.insert("x-delivery-count", Value::from(stored.returns));
            }
            permit.send(Delivery {
                message,
                origin: stored.origin(queue),
                settlement: Settlement::new(0, tag, Arc::clone(queue), self.verdicts.clone())
                    .void_after(Arc::clone(&self.epoch)),
            });
        }
        self.unsettled.insert(tag, stored);
    }
}
