//! The exchanges of the broker, and their routing.

use std::collections::HashMap;

use celeriac_protocol::HeaderMap;
use celeriac_topology::{Binding, BindingTarget, ExchangeKind, ExchangeOptions, Topology};

use super::compare::equal;
use crate::error::{Error, Result};

/// All exchanges but the default one.
#[derive(Default)]
pub(super) struct Exchanges {
    by_name: HashMap<String, Exchange>,
}

struct Exchange {
    kind: ExchangeKind,
    alternate: Option<String>,
    bindings: Vec<(Binding, BindingTarget)>,
}

impl Exchanges {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Compares existing exchanges with the topology.
    pub(super) fn compare(&self, topology: &Topology) -> Result<()> {
        for (name, options) in declared(topology) {
            let Some(existing) = self.by_name.get(name) else {
                if options.external {
                    return Err(Error::NoSuchExchange { exchange: name.to_owned() });
                }
                continue;
            };
            let object = || format!("exchange `{name}`");
            equal(object, "type", Some(existing.kind.name()), Some(options.kind.name()))?;
            equal(object, "alternate-exchange", existing.alternate.clone(), options.alternate_exchange)?;
        }
        let sources = topology.queues.values().flat_map(|queue| &queue.bindings);
        let sources = sources.chain(topology.exchanges.values().flat_map(|exchange| &exchange.bindings));
        for Binding { exchange, .. } in sources {
            if !self.contains(exchange) && !declared(topology).any(|(name, _)| name == exchange) {
                return Err(Error::NoSuchExchange { exchange: exchange.clone() });
            }
        }
        Ok(())
    }

    /// Declares exchanges and bindings.
    pub(super) fn declare(&mut self, topology: &Topology) {
        for (name, ExchangeOptions { kind, alternate_exchange: alternate, .. }) in declared(topology) {
            let exchange = || Exchange { kind, alternate, bindings: Vec::new() };
            self.by_name.entry(name.to_owned()).or_insert_with(exchange);
        }
        for (name, queue) in &topology.queues {
            let place = if queue.broadcast {
                BindingTarget::Exchange(name.clone())
            } else {
                BindingTarget::Queue(name.clone())
            };
            self.bind(&queue.bindings, &place);
        }
        for (name, exchange) in &topology.exchanges {
            self.bind(&exchange.bindings, &BindingTarget::Exchange(name.clone()));
        }
    }

    fn bind(&mut self, bindings: &[Binding], place: &BindingTarget) {
        for binding in bindings {
            let Some(source) = self.by_name.get_mut(&binding.exchange) else { continue };
            let entry = (binding.clone(), place.clone());
            if !source.bindings.contains(&entry) {
                source.bindings.push(entry);
            }
        }
    }

    /// Removes the bindings of a queue.
    pub(super) fn unbind(&mut self, queue: &str) {
        for exchange in self.by_name.values_mut() {
            exchange.bindings.retain(|(_, place)| !matches!(place, BindingTarget::Queue(name) if name == queue));
        }
    }

    /// Returns the queues that an exchange routes a message to.
    pub(super) fn routed(&self, exchange: &str, routing_key: &str, headers: &HeaderMap) -> Result<Vec<&str>> {
        if !self.contains(exchange) {
            return Err(Error::NoSuchExchange { exchange: exchange.to_owned() });
        }
        let (mut queues, mut seen, mut next) = (Vec::new(), Vec::new(), vec![exchange]);
        while let Some(name) = next.pop() {
            let Some((name, exchange)) = self.by_name.get_key_value(name) else { continue };
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let mut taken = false;
            let takes = |binding: &Binding| binding.takes(exchange.kind, routing_key, Some(headers)) == Some(true);
            for (_, place) in exchange.bindings.iter().filter(|(binding, _)| takes(binding)) {
                taken = true;
                match place {
                    BindingTarget::Queue(queue) => queues.push(queue.as_str()),
                    BindingTarget::Exchange(exchange) => next.push(exchange),
                }
            }
            next.extend(exchange.alternate.as_deref().filter(|_| !taken));
        }
        Ok(queues)
    }
}

/// Returns the exchanges of a topology, with those of its broadcast queues.
fn declared(topology: &Topology) -> impl Iterator<Item = (&str, ExchangeOptions)> {
    let broadcasts = topology.queues.iter().filter(|(_, queue)| queue.broadcast).map(|(name, queue)| {
        let external = queue.external;
        (name.as_str(), ExchangeOptions { kind: ExchangeKind::Fanout, external, ..ExchangeOptions::default() })
    });
    topology.exchanges.iter().map(|(name, options)| (name.as_str(), options.clone())).chain(broadcasts)
}
