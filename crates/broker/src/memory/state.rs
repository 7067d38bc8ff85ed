//! All exchanges and queues of a broker. Every step is small, waits for nothing, and is told the present time.

use std::collections::HashMap;
use std::sync::Arc;

use celeriac_protocol::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::death::{self, Reason};
use super::ladder;
use super::queue::{Queue, Stored};
use super::timeline::{Due, Timeline};
use crate::broker::{Delivery, Outgoing};
use crate::error::{Error, Result};
use crate::settle::{Settled, Verdict};
use crate::topology::{
    ExchangeKind, QueueKind, QueueOptions, Topology, binding_matches, dead_letter_queue, is_dead_letter_queue,
};

/// Exchanges, queues, and what is due.
pub(super) struct State {
    exchanges: HashMap<String, Exchange>,
    /// The index of a queue names it. A deleted one keeps its place, so that no other gets its number.
    queues: Vec<Queue>,
    names: HashMap<Arc<str>, usize>,
    /// The queue of each consumer.
    consumers: HashMap<u64, usize>,
    timeline: Timeline,
    /// Numbers messages and consumers.
    sequence: u64,
}

struct Exchange {
    kind: ExchangeKind,
    bindings: Vec<(String, usize)>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            exchanges: HashMap::new(),
            queues: Vec::new(),
            names: HashMap::new(),
            consumers: HashMap::new(),
            timeline: Timeline::new(),
            sequence: 0,
        }
    }

    /// When [`State::advance`] has something to do.
    pub(super) fn due(&self) -> watch::Receiver<Option<Instant>> {
        self.timeline.next()
    }

    /// Makes everything exist, or nothing when something exists differently.
    pub(super) fn declare(&mut self, topology: &Topology) -> Result<()> {
        self.compare(topology)?;
        for (name, options) in &topology.exchanges {
            let exchange = Exchange { kind: options.kind, bindings: Vec::new() };
            self.exchanges.entry(name.clone()).or_insert(exchange);
        }
        for (name, options) in &topology.queues {
            let dead = QueueOptions { kind: options.kind, ..QueueOptions::default() };
            let dead_letters = (!is_dead_letter_queue(name)).then(|| self.queue(&dead_letter_queue(name), &dead, None));
            let queue = self.queue(name, options, dead_letters);
            for binding in &options.bind {
                let Some(exchange) = self.exchanges.get_mut(&binding.exchange) else { continue };
                let entry = (binding.key.clone(), queue);
                if !exchange.bindings.contains(&entry) {
                    exchange.bindings.push(entry);
                }
            }
        }
        Ok(())
    }

    /// Makes a queue exist that goes with its consumer.
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

    fn compare(&self, topology: &Topology) -> Result<()> {
        for (name, options) in &topology.exchanges {
            if let Some(existing) = self.exchanges.get(name) {
                let object = || format!("exchange `{name}`");
                equal(object, "type", Some(existing.kind.name()), Some(options.kind.name()))?;
            }
        }
        for (name, options) in &topology.queues {
            if let Some(existing) = self.names.get(name.as_str()).map(|index| &self.queues[*index]) {
                let object = || format!("queue `{name}`");
                equal(object, "x-queue-type", Some(existing.kind.name()), Some(options.kind.name()))?;
                equal(object, "x-max-priority", existing.max_priority, options.max_priority)?;
                equal(object, "x-delivery-limit", existing.delivery_limit, options.delivery_limit)?;
            }
            let bound = options.bind.iter().map(|binding| &binding.exchange);
            for exchange in bound {
                if !self.exchanges.contains_key(exchange) && !topology.exchanges.contains_key(exchange) {
                    return Err(Error::NoSuchExchange { exchange: exchange.clone() });
                }
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

    /// Puts a message on the queues it is routed to.
    pub(super) fn publish(&mut self, outgoing: Outgoing, now: Instant) -> Result<()> {
        self.pass_time(now);
        let published = match ladder::wait(&outgoing.exchange, &outgoing.routing_key) {
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

    /// Keeps a message until its time. That its queue exists is asked now: later there is nobody to be told.
    fn delay(&mut self, outgoing: Outgoing, queue: &str, when: Instant) -> Result<()> {
        let Some(index) = self.names.get(queue).copied() else {
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
        let mut queues = self.routed(&exchange, &routing_key)?;
        let Some(last) = queues.pop() else {
            if !mandatory {
                return Ok(());
            }
            return Err(Error::Unroutable { exchange: exchange.into_owned(), routing_key });
        };
        for queue in queues {
            self.enqueue(queue, message.clone(), exchange.to_string(), routing_key.clone(), now);
        }
        self.enqueue(last, message, exchange.into_owned(), routing_key, now);
        Ok(())
    }

    /// The queues that an exchange gives a message to, each once.
    fn routed(&self, exchange: &str, routing_key: &str) -> Result<Vec<usize>> {
        if exchange.is_empty() {
            return Ok(self.names.get(routing_key).copied().into_iter().collect());
        }
        let Some(Exchange { kind, bindings }) = self.exchanges.get(exchange) else {
            return Err(Error::NoSuchExchange { exchange: exchange.to_owned() });
        };
        let taking = bindings.iter().filter(|(key, _)| binding_matches(*kind, key, routing_key));
        let mut queues: Vec<_> = taking.map(|(_, queue)| *queue).collect();
        queues.sort_unstable();
        queues.dedup();
        Ok(queues)
    }

    fn enqueue(&mut self, queue: usize, message: Message, exchange: String, routing_key: String, now: Instant) {
        let stored = self.stored(queue, message, exchange, routing_key, now);
        self.put(queue, stored);
        self.queues[queue].hand_out(&mut self.timeline);
    }

    /// A message that takes its place in a queue at `when`, from where on its expiration counts.
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
        let expires = message.properties.expiration.and_then(|expiration| when.checked_add(expiration));
        Stored { message, exchange, routing_key, position, expires, returns: 0 }
    }

    fn put(&mut self, queue: usize, stored: Stored) {
        self.timeline.watch(queue, &stored);
        self.queues[queue].put(stored);
    }

    /// Lets everything happen that is due.
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
                Due::Expire { queue, position } => {
                    if let Some(stored) = self.queues[queue].take(position) {
                        self.dead_letter(queue, stored, Reason::Expired, now);
                    }
                }
            }
        }
    }

    /// Moves a message to the dead-letter queue; one that comes from a dead-letter queue has no further place to go.
    fn dead_letter(&mut self, queue: usize, stored: Stored, reason: Reason, now: Instant) {
        let Some(target) = self.queues[queue].dead_letters else { return };
        let Stored { mut message, exchange, routing_key, .. } = stored;
        death::record(&mut message.headers, reason, &self.queues[queue].name, &exchange, &routing_key);
        message.properties.expiration = None;
        let name = self.queues[target].name.as_ref().to_owned();
        self.enqueue(target, message, String::new(), name, now);
    }

    /// Adds a consumer; its number and its queue's name.
    pub(super) fn subscribe(
        &mut self,
        queue: &str,
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
        queue.subscribe(id, deliveries, verdicts);
        queue.hand_out(&mut self.timeline);
        let name = Arc::clone(&queue.name);
        self.timeline.announce();
        Ok((id, name))
    }

    /// A queue's place, its name, and how many messages wait in it.
    pub(super) fn look_at(&mut self, queue: &str, now: Instant) -> Result<(usize, Arc<str>, u64)> {
        let Some(index) = self.names.get(queue).copied() else {
            return Err(Error::NoSuchQueue { queue: queue.to_owned() });
        };
        self.pass_time(now);
        self.timeline.announce();
        let queue = &self.queues[index];
        Ok((index, Arc::clone(&queue.name), queue.waiting()))
    }

    /// Takes the first message that waits in a queue, for whoever looks at it.
    pub(super) fn take_first(&mut self, queue: usize, now: Instant) -> Option<Stored> {
        self.pass_time(now);
        let stored = self.queues[queue].take_first();
        if let Some(stored) = &stored {
            self.timeline.unwatch(stored);
        }
        self.timeline.announce();
        stored
    }

    /// Gives back what was only looked at.
    pub(super) fn return_all(&mut self, queue: usize, returned: impl Iterator<Item = Stored>, now: Instant) {
        for stored in returned {
            self.give_back(queue, stored, now);
        }
        self.after_settling(queue, now);
    }

    /// Gives a consumer no more; how many it has to settle.
    pub(super) fn stop(&mut self, consumer: u64) -> usize {
        self.consumers.get(&consumer).map_or(0, |index| self.queues[*index].stop(consumer))
    }

    /// Forgets a consumer; what it has not settled goes back.
    pub(super) fn unsubscribe(&mut self, consumer: u64, now: Instant) {
        let Some(index) = self.consumers.remove(&consumer) else { return };
        let unsettled = self.queues[index].unsubscribe(consumer);
        if self.queues[index].for_replies {
            self.names.remove(&self.queues[index].name);
            self.queues[index].clear();
            return;
        }
        for stored in unsettled {
            self.give_back(index, stored, now);
        }
        self.after_settling(index, now);
    }

    /// Does what a consumer says of its deliveries; how many it still has to settle.
    pub(super) fn settle(&mut self, consumer: u64, settled: impl Iterator<Item = Settled>, now: Instant) -> usize {
        let Some(index) = self.consumers.get(&consumer).copied() else { return 0 };
        for Settled { tag, verdict, .. } in settled {
            let Some(stored) = self.queues[index].settled(consumer, tag) else { continue };
            match verdict {
                Verdict::Ack => {}
                Verdict::Reject => self.dead_letter(index, stored, Reason::Rejected, now),
                Verdict::Requeue => self.give_back(index, stored, now),
            }
        }
        self.after_settling(index, now);
        self.queues[index].unsettled(consumer)
    }

    fn give_back(&mut self, queue: usize, mut stored: Stored, now: Instant) {
        stored.returns += 1;
        if self.queues[queue].is_exhausted(&stored) {
            self.dead_letter(queue, stored, Reason::DeliveryLimit, now);
        } else {
            self.put(queue, stored);
        }
    }

    /// Room was made, and what came back may have expired meanwhile.
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

/// Compares an argument; one that the configuration does not set may be anything.
fn equal<T: PartialEq + ToString>(
    object: impl Fn() -> String,
    argument: &str,
    found: Option<T>,
    expected: Option<T>,
) -> Result<()> {
    if expected.is_none() || found == expected {
        return Ok(());
    }
    let shown =
        |value: Option<T>| value.map_or_else(|| "not set".to_owned(), |value| format!("`{}`", value.to_string()));
    Err(Error::Mismatch {
        object: object(),
        argument: argument.to_owned(),
        found: shown(found),
        expected: shown(expected),
    })
}
