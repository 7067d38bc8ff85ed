//! Everything that has to exist on the broker, as the configuration declares it.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::exchange::{Binding, ExchangeOptions};
use crate::queue::{DIRECT_EXCHANGE, QueueKind, QueueOptions, dead_letter_queue};

/// Everything that has to exist on the broker before tasks flow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    /// Exchanges by name.
    pub exchanges: IndexMap<String, ExchangeOptions>,
    /// Queues by name. Each brings its dead-letter queue and its place behind the delay ladder with it.
    pub queues: IndexMap<String, QueueOptions>,
}

impl Topology {
    /// The queues that a message reaches by what is declared here.
    ///
    /// `None` where more than that decides: an exchange that is declared elsewhere, or the headers of the message.
    pub fn reached(&self, exchange: &str, routing_key: &str) -> Option<Vec<&str>> {
        if exchange.is_empty() {
            return Some(self.queues.get_key_value(routing_key).map(|(name, _)| name.as_str()).into_iter().collect());
        }
        if exchange == DIRECT_EXCHANGE {
            // Every worker declares its own, which are in no file.
            return None;
        }
        let mut found = Reached::default();
        self.follow(exchange, routing_key, &mut found)?;
        // In the order of the configuration.
        Some(self.queues.keys().map(String::as_str).filter(|name| found.queues.contains(name)).collect())
    }

    /// `None` where it cannot be known.
    fn follow<'a>(&'a self, exchange: &'a str, routing_key: &str, found: &mut Reached<'a>) -> Option<()> {
        if found.exchanges.contains(&exchange) {
            return Some(());
        }
        found.exchanges.push(exchange);
        if let Some((name, _)) = self.queues.get_key_value(exchange).filter(|(_, queue)| queue.broadcast) {
            found.queues.push(name);
            return Some(());
        }
        let options = self.exchanges.get(exchange).filter(|options| !options.external)?;
        let takes = |binding: &&Binding| binding.exchange == exchange;
        let mut taken = false;
        for (name, queue) in &self.queues {
            for binding in queue.bindings.iter().filter(takes) {
                if binding.takes(options.kind, routing_key, None)? {
                    found.queues.push(name);
                    taken = true;
                }
            }
        }
        for (name, bound) in &self.exchanges {
            for binding in bound.bindings.iter().filter(takes) {
                if binding.takes(options.kind, routing_key, None)? {
                    self.follow(name, routing_key, found)?;
                    taken = true;
                }
            }
        }
        match &options.alternate_exchange {
            Some(alternate) if !taken => self.follow(alternate, routing_key, found),
            _ => Some(()),
        }
    }

    /// The queue that takes the dead letters of a queue. `None` for a stream, which has none.
    pub fn dead_letter_queue(&self, queue: &str) -> Option<String> {
        match self.queues.get(queue) {
            Some(options) if options.kind == QueueKind::Stream => None,
            Some(QueueOptions { dead_letter_queue: Some(target), .. }) => Some(target.clone()),
            _ => Some(dead_letter_queue(queue)),
        }
    }

    /// Every dead-letter queue, each once, with its kind: replicated where one of its queues is.
    pub fn dead_letter_queues(&self) -> IndexMap<String, QueueKind> {
        let mut queues = IndexMap::new();
        for (name, options) in &self.queues {
            let Some(target) = self.dead_letter_queue(name) else { continue };
            let known = queues.entry(target).or_insert(options.kind);
            if options.kind == QueueKind::Quorum {
                *known = QueueKind::Quorum;
            }
        }
        queues
    }

    /// Returns true when a message for these queues goes to every worker.
    pub fn is_broadcast(&self, queues: &[Arc<str>]) -> bool {
        queues.iter().any(|queue| self.queues.get(&**queue).is_some_and(|options| options.broadcast))
    }

    /// The queues that a worker can consume.
    pub fn work_queues(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().filter(|(_, options)| options.kind != QueueKind::Stream).map(|(name, _)| name.as_str())
    }
}

/// The queues and exchanges that a message has come by.
#[derive(Debug, Default)]
struct Reached<'a> {
    queues: Vec<&'a str>,
    exchanges: Vec<&'a str>,
}

#[cfg(test)]
mod tests;
