//! All exchanges and queues of a broker. Every step is short, never waits, and gets the present
//! time as an argument.

use std::collections::HashMap;
use std::sync::Arc;

use celeriac_protocol::Message;
use celeriac_topology::{Binding, ExchangeOptions, Ladder, QueueKind, QueueOptions, Topology};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::compare::equal;
use super::death::{self, DeathReason};
use super::exchanges::Exchanges;
use super::queue::{Queue, Room};
use super::stored::Stored;
use super::timeline::{Due, Timeline};
use crate::broker::{Depth, Outgoing, TransientExchange, TransientQueue};
use crate::delivery::Delivery;
use crate::error::{Error, Result};
use crate::settle::{Settled, SettlementKind};

/// Exchanges, queues, and future events.
pub(super) struct VirtualHost {
    exchanges: Exchanges,
    /// The index of a queue is its number. A deleted queue keeps its entry, so that no other queue
    /// gets the number.
    queues: Vec<Queue>,
    names: HashMap<Arc<str>, usize>,
    /// The queue of each consumer.
    consumers: HashMap<u64, usize>,
    timeline: Timeline,
    /// The last number of a message or consumer.
    sequence: u64,
}

impl VirtualHost {
    pub(super) fn new() -> Self {
        Self {
            exchanges: Exchanges::default(),
            queues: Vec::new(),
            names: HashMap::new(),
            consumers: HashMap::new(),
            timeline: Timeline::new(),
            sequence: 0,
        }
    }

    /// Returns a watch of the time at which [`VirtualHost::advance`] is needed.
    pub(super) fn due(&self) -> watch::Receiver<Option<Instant>> {
        self.timeline.next()
    }

    /// Declares everything, or nothing if an existing object differs.
    pub(super) fn declare(&mut self, topology: &Topology) -> Result<()> {
        self.compare(topology)?;
        self.exchanges.declare(topology);
        for (name, kind) in topology.dead_letter_queues() {
            self.queue(&name, &QueueOptions { kind, ..QueueOptions::default() }, None);
        }
        for (name, options) in topology.queues.iter().filter(|(_, options)| !options.broadcast) {
            let dead_letters = topology.dead_letter_queue(name).and_then(|dead| self.names.get(dead.as_str()).copied());
            self.queue(name, options, dead_letters);
        }
        Ok(())
    }

    /// Declares a queue that is deleted with its consumer.
    pub(super) fn declare_replies(&mut self, name: &str) -> Result<()> {
        if let Some(existing) = self.names.get(name).map(|index| &self.queues[*index]) {
            let object = || format!("queue `{name}`");
            return equal(object, "x-expires", existing.for_replies.then_some(true), Some(true));
        }
        let options = QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() };
        let index = self.queue(name, &options, None);
        self.queues[index].for_replies = true;
        Ok(())
    }

    /// Declares a queue that is deleted with its consumer, with its exchanges and its binding.
    pub(super) fn declare_transient(&mut self, queue: &TransientQueue) -> Result<()> {
        if self.names.contains_key(queue.name.as_str()) {
            return Err(Error::QueueLocked { queue: queue.name.clone() });
        }
        let bindings = vec![Binding::new(queue.exchange.name, queue.routing_key.as_str())];
        let options = QueueOptions {
            kind: QueueKind::Classic,
            bindings,
            message_ttl: Some(queue.message_ttl),
            ..QueueOptions::default()
        };
        let exchange = |TransientExchange { name, kind }| {
            (name.to_owned(), ExchangeOptions { kind, ..ExchangeOptions::default() })
        };
        let topology = Topology {
            exchanges: [queue.exchange, queue.publishes_to].into_iter().map(exchange).collect(),
            queues: [(queue.name.clone(), options.clone())].into(),
        };
        self.exchanges.compare(&topology)?;
        self.exchanges.declare(&topology);
        let index = self.queue(&queue.name, &options, None);
        self.queues[index].for_replies = true;
        Ok(())
    }

    fn compare(&self, topology: &Topology) -> Result<()> {
        self.exchanges.compare(topology)?;
        for (name, options) in &topology.queues {
            if let Some(existing) = self.names.get(name.as_str()).map(|index| &self.queues[*index]) {
                let object = || format!("queue `{name}`");
                if options.external {
                    continue;
                }
                equal(object, "x-queue-type", Some(existing.kind.name()), Some(options.kind.name()))?;
                equal(object, "x-max-priority", existing.max_priority, options.max_priority)?;
                equal(object, "x-delivery-limit", existing.delivery_limit, options.delivery_limit)?;
                existing.bounds.compare(options, object)?;
            }
            if options.external && !self.names.contains_key(name.as_str()) {
                return Err(Error::NoSuchQueue { queue: name.clone() });
            }
        }
        Ok(())
    }

    fn queue(&mut self, name: &str, options: &QueueOptions, dead_letters: Option<usize>) -> usize {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        let queue = Queue::new(name, options, dead_letters);
        let index = self.queues.len();
        self.names.insert(Arc::clone(&queue.name), index);
        self.queues.push(queue);
        index
    }

    /// Puts a message on the queues that it is routed to.
    pub(super) fn publish(&mut self, outgoing: Outgoing, ladder: &Ladder, now: Instant) -> Result<()> {
        self.pass_time(now);
        let published = match ladder.delay_of(&outgoing.exchange, &outgoing.routing_key) {
            Some((wait, queue)) => {
                let queue = queue.to_owned();
                let delayed = self.delay(outgoing, &queue, now + wait);
                self.pass_time(now);
                delayed
            }
            None => self.route(outgoing, now),
        };
        self.timeline.announce();
        published
    }

    /// Holds a message until its time. Its queue must exist now, because an error could not reach
    /// the publisher later.
    fn delay(&mut self, outgoing: Outgoing, queue: &str, when: Instant) -> Result<()> {
        let Some(index) = self.names.get(queue).copied() else {
            if self.exchanges.contains(queue) {
                let number = self.next_number();
                let outgoing =
                    Outgoing { exchange: queue.to_owned().into(), routing_key: queue.to_owned(), ..outgoing };
                self.timeline.publish_at(when, number, outgoing);
                return Ok(());
            }
            return Err(Error::Unroutable {
                exchange: outgoing.exchange.into_owned(),
                routing_key: outgoing.routing_key,
            });
        };
        let stored = self.stored(index, outgoing.message, String::new(), queue.to_owned(), when);
        self.timeline.deliver_at(when, index, stored);
        Ok(())
    }

    fn route(&mut self, outgoing: Outgoing, now: Instant) -> Result<()> {
        let Outgoing { exchange, routing_key, message, mandatory } = outgoing;
        let queues = self.routed(&exchange, &routing_key, &message)?;
        if queues.is_empty() && mandatory {
            return Err(Error::Unroutable { exchange: exchange.into_owned(), routing_key });
        }
        let mut refused = false;
        for queue in queues {
            refused |= !self.enqueue(queue, message.clone(), exchange.to_string(), routing_key.clone(), now);
        }
        if refused {
            return Err(Error::Refused { exchange: exchange.into_owned(), routing_key });
        }
        Ok(())
    }

    /// Returns the queues that an exchange routes a message to, each once.
    fn routed(&self, exchange: &str, routing_key: &str, message: &Message) -> Result<Vec<usize>> {
        if exchange.is_empty() {
            return Ok(self.names.get(routing_key).copied().into_iter().collect());
        }
        let names = self.exchanges.routed(exchange, routing_key, &message.headers)?;
        let mut queues: Vec<_> = names.into_iter().filter_map(|name| self.names.get(name).copied()).collect();
        queues.sort_unstable();
        queues.dedup();
        Ok(queues)
    }

    /// Returns `true` if the queue took the message.
    fn enqueue(&mut self, queue: usize, message: Message, exchange: String, routing_key: String, now: Instant) -> bool {
        let stored = self.stored(queue, message, exchange, routing_key, now);
        match self.queues[queue].room(&stored) {
            Room::Enough => {}
            Room::Refused { dead_letter } => {
                if dead_letter {
                    self.dead_letter(queue, stored, DeathReason::MaxLen, now);
                }
                return false;
            }
        }
        self.put(queue, stored);
        self.queues[queue].hand_out(&mut self.timeline);
        while let Some(oldest) = self.queues[queue].surplus() {
            self.timeline.unwatch(&oldest);
            self.dead_letter(queue, oldest, DeathReason::MaxLen, now);
        }
        true
    }

    /// Returns a message with its position in a queue at `when`, the start of its expiration.
    fn stored(
        &mut self,
        queue: usize,
        message: Message,
        exchange: String,
        routing_key: String,
        when: Instant,
    ) -> Stored {
        let number = self.next_number();
        let position = self.queues[queue].position(message.properties.priority, number);
        let waits = message.properties.expiration.into_iter().chain(self.queues[queue].bounds.message_ttl).min();
        let expires = waits.and_then(|wait| when.checked_add(wait));
        Stored { message, exchange, routing_key, position, expires, returns: 0 }
    }

    fn put(&mut self, queue: usize, stored: Stored) {
        self.timeline.watch(queue, &stored);
        self.queues[queue].put(stored);
    }

    /// Runs every event that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        self.pass_time(now);
        self.timeline.announce();
    }

    fn pass_time(&mut self, now: Instant) {
        while let Some(due) = self.timeline.take_due(now) {
            match due {
                Due::Deliver { queue, stored } => {
                    self.put(queue, *stored);
                    self.queues[queue].hand_out(&mut self.timeline);
                }
                // The publisher already has a confirm, so a missing queue cannot be reported.
                Due::Publish(outgoing) => drop(self.route(*outgoing, now)),
                Due::Expire { queue, position } => {
                    if let Some(stored) = self.queues[queue].take(position) {
                        self.dead_letter(queue, stored, DeathReason::Expired, now);
                    }
                }
            }
        }
    }

    /// Moves a message to the dead-letter queue. A message of a dead-letter queue is discarded.
    fn dead_letter(&mut self, queue: usize, stored: Stored, reason: DeathReason, now: Instant) {
        let Some(target) = self.queues[queue].dead_letters else { return };
        let Stored { mut message, exchange, routing_key, .. } = stored;
        death::record(&mut message.headers, reason, &self.queues[queue].name, &exchange, &routing_key);
        message.properties.expiration = None;
        let name = self.queues[target].name.as_ref().to_owned();
        self.enqueue(target, message, String::new(), name, now);
    }

    /// Returns the depth of a queue.
    pub(super) fn depth(&mut self, queue: &str, now: Instant) -> Option<Depth> {
        self.pass_time(now);
        self.timeline.announce();
        self.names.get(queue).map(|index| self.queues[*index].depth())
    }

    /// Adds a consumer. Returns its number and the name of its queue.
    pub(super) fn subscribe(
        &mut self,
        queue: &str,
        prefetch: u16,
        deliveries: mpsc::Sender<Delivery>,
        verdicts: mpsc::UnboundedSender<Settled>,
        now: Instant,
    ) -> Result<(u64, Arc<str>)> {
        let Some(index) = self.names.get(queue).copied() else {
            return Err(Error::NoSuchQueue { queue: queue.to_owned() });
        };
        self.pass_time(now);
        let id = self.next_number();
        self.consumers.insert(id, index);
        let queue = &mut self.queues[index];
        queue.subscribe(id, prefetch, deliveries, verdicts);
        queue.hand_out(&mut self.timeline);
        let name = Arc::clone(&queue.name);
        self.timeline.announce();
        Ok((id, name))
    }

    /// Sets the number of messages that a consumer may have unsettled.
    pub(super) fn set_prefetch(&mut self, consumer: u64, prefetch: u16, now: Instant) {
        let Some(index) = self.consumers.get(&consumer).copied() else { return };
        self.queues[index].set_prefetch(consumer, prefetch);
        self.after_settling(index, now);
    }

    /// Returns a queue's index, its name, and its number of ready messages.
    pub(super) fn look_at(&mut self, queue: &str, now: Instant) -> Result<(usize, Arc<str>, u64)> {
        let Some(index) = self.names.get(queue).copied() else {
            return Err(Error::NoSuchQueue { queue: queue.to_owned() });
        };
        self.pass_time(now);
        self.timeline.announce();
        let queue = &self.queues[index];
        Ok((index, Arc::clone(&queue.name), queue.waiting()))
    }

    /// Removes and returns the first ready message of a queue, for a browser.
    pub(super) fn take_first(&mut self, queue: usize, now: Instant) -> Option<Stored> {
        self.pass_time(now);
        let stored = self.queues[queue].take_first();
        if let Some(stored) = &stored {
            self.timeline.unwatch(stored);
        }
        self.timeline.announce();
        stored
    }

    /// Returns messages that were only shown.
    pub(super) fn return_all(&mut self, queue: usize, returned: impl Iterator<Item = Stored>, now: Instant) {
        for stored in returned {
            self.give_back(queue, stored, now);
        }
        self.after_settling(queue, now);
    }

    /// Stops deliveries to a consumer, and returns the number that it has unsettled.
    pub(super) fn stop(&mut self, consumer: u64) -> usize {
        self.consumers.get(&consumer).map_or(0, |index| self.queues[*index].stop(consumer))
    }

    /// Removes a consumer. Its unsettled messages return.
    pub(super) fn unsubscribe(&mut self, consumer: u64, now: Instant) {
        let Some(index) = self.consumers.remove(&consumer) else { return };
        let unsettled = self.queues[index].unsubscribe(consumer);
        if self.queues[index].for_replies {
            self.names.remove(&self.queues[index].name);
            self.exchanges.unbind(&self.queues[index].name);
            self.queues[index].clear();
            return;
        }
        for stored in unsettled {
            self.give_back(index, stored, now);
        }
        self.after_settling(index, now);
    }

    /// Applies settlements, and returns the number of deliveries that the consumer has unsettled.
    pub(super) fn settle(&mut self, consumer: u64, settled: impl Iterator<Item = Settled>, now: Instant) -> usize {
        let Some(index) = self.consumers.get(&consumer).copied() else { return 0 };
        for Settled { tag, verdict, .. } in settled {
            let Some(stored) = self.queues[index].settled(consumer, tag) else { continue };
            match verdict {
                SettlementKind::Ack => {}
                SettlementKind::Reject => self.dead_letter(index, stored, DeathReason::Rejected, now),
                SettlementKind::Requeue => self.give_back(index, stored, now),
            }
        }
        self.after_settling(index, now);
        self.queues[index].unsettled(consumer)
    }

    fn give_back(&mut self, queue: usize, mut stored: Stored, now: Instant) {
        stored.returns += 1;
        if self.queues[queue].is_exhausted(&stored) {
            self.dead_letter(queue, stored, DeathReason::DeliveryLimit, now);
        } else {
            self.put(queue, stored);
        }
    }

    /// Delivers messages after a settlement. Requeued ones may have expired meanwhile.
    fn after_settling(&mut self, queue: usize, now: Instant) {
        self.pass_time(now);
        self.queues[queue].hand_out(&mut self.timeline);
        self.timeline.announce();
    }

    fn next_number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}
