//! The objects that have to exist on the broker, as the configuration declares them.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::exchange::{Binding, ExchangeOptions};
use crate::queue::{DIRECT_EXCHANGE, QueueKind, QueueOptions, dead_letter_queue};

/// The objects that have to exist on the broker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Topology {
    /// Exchanges by name.
    pub exchanges: IndexMap<String, ExchangeOptions>,
    /// Queues by name. Each has a dead-letter queue and a binding to the delay ladder.
    pub queues: IndexMap<String, QueueOptions>,
}

impl Topology {
    /// Returns the queues that a message reaches, by the declared bindings.
    ///
    /// `None` if the exchange is not declared here, or if headers decide.
    pub fn reached(&self, exchange: &str, routing_key: &str) -> Option<Vec<&str>> {
        if exchange.is_empty() {
            return Some(self.queues.get_key_value(routing_key).map(|(name, _)| name.as_str()).into_iter().collect());
        }
        if exchange == DIRECT_EXCHANGE {
            // Every worker declares a queue of its own, whose name is in no file.
            return None;
        }
        let mut found = Reached::default();
        self.follow(exchange, routing_key, &mut found)?;
        // In the order of the configuration.
        Some(self.queues.keys().map(String::as_str).filter(|name| found.queues.contains(name)).collect())
    }

    /// Adds the queues behind an exchange. Returns `None` if they cannot be known.
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

    /// Returns the dead-letter queue of a queue. `None` for a stream, which has none.
    pub fn dead_letter_queue(&self, queue: &str) -> Option<String> {
        match self.queues.get(queue) {
            Some(options) if options.kind == QueueKind::Stream => None,
            Some(QueueOptions { dead_letter_queue: Some(target), .. }) => Some(target.clone()),
            _ => Some(dead_letter_queue(queue)),
        }
    }

    /// Returns every dead-letter queue once, with its type: a quorum queue if one of its queues is.
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

    /// Returns true if a message for these queues goes to every worker.
    pub fn is_broadcast(&self, queues: &[Arc<str>]) -> bool {
        queues.iter().any(|queue| self.queues.get(&**queue).is_some_and(|options| options.broadcast))
    }

    /// Returns the queues that workers can consume.
    pub fn work_queues(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().filter(|(_, options)| options.kind != QueueKind::Stream).map(|(name, _)| name.as_str())
    }
}

/// The queues and exchanges that a message has passed.
#[derive(Debug, Default)]
struct Reached<'a> {
    queues: Vec<&'a str>,
    exchanges: Vec<&'a str>,
}

#[cfg(test)]
mod tests;
