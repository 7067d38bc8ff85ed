//! Which exchange and queue a task goes to. Pure.

mod options;
mod pattern;
mod validate;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use celeriac_protocol::Codec;

use crate::delay;
use crate::error::{Error, Result};
use crate::topology::{Topology, did_you_mean};

pub use options::{RoutesOptions, TaskRoute};
use pattern::Pattern;

/// What one call says of its way; each is `None` unless the caller said it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallRoute {
    /// The queue. Excludes `exchange` and `routing_key`.
    pub queue: Option<String>,
    /// The exchange, which may be one that is not declared here.
    pub exchange: Option<String>,
    /// The routing key, at the call's exchange or at that of its route.
    pub routing_key: Option<String>,
    /// The priority.
    pub priority: Option<u8>,
    /// The serialiser.
    pub codec: Option<Codec>,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The exchange; empty for the default exchange.
    pub exchange: Cow<'static, str>,
    /// The routing key.
    pub routing_key: String,
    /// The priority, where call or route say one.
    pub priority: Option<u8>,
    /// The serialiser, where call or route say one.
    pub codec: Option<Codec>,
    /// The queues it reaches by what is declared. None when only the broker knows.
    pub queues: Arc<[Arc<str>]>,
}

impl Destination {
    /// The same destination, reached after `delay`, of which the ladder knows whole seconds (see [`crate::delay`]).
    ///
    /// A delayed message is addressed to a queue by its name.
    ///
    /// # Errors
    /// When the declared bindings lead to any other number of queues than one.
    pub fn delayed(self, delay: Duration) -> Result<Self> {
        let reason = match &*self.queues {
            [queue] => {
                return Ok(match delay::delayed_address(delay, queue) {
                    Some((exchange, routing_key)) => Self { exchange: Cow::Borrowed(exchange), routing_key, ..self },
                    None => self,
                });
            }
            [] => "no declared queue is bound there".to_owned(),
            several => format!("it leads to {} queues ({})", several.len(), several.join(", ")),
        };
        Err(Error::Undelayable { exchange: self.exchange.into_owned(), routing_key: self.routing_key, reason })
    }
}

/// Chooses the destination of a call: the call itself decides, then the first matching route, then the queue that is
/// declared with the task, then the default queue.
#[derive(Debug)]
pub struct Router {
    topology: Topology,
    routes: Vec<(Pattern, Destination)>,
    /// Every declared queue by name, ready to be handed out.
    queues: HashMap<String, Destination>,
    default_queue: String,
    /// The first matching route of tasks already seen, so that patterns are tried once for each name.
    seen: RwLock<HashMap<String, Option<usize>>>,
}

/// Task names beyond so many are matched anew at each call, so that names made up by callers take no memory.
const MOST_SEEN: usize = 4096;

impl Router {
    /// A router by these options.
    ///
    /// # Errors
    /// When [`RoutesOptions::validate`] finds a problem; the first is told.
    pub fn new(options: &RoutesOptions) -> Result<Self> {
        if let Some((key, reason)) = options.validate().into_iter().next() {
            return Err(Error::Invalid { key, reason });
        }
        let topology = options.topology();
        let queues = topology.queues.keys().map(|name| (name.clone(), to_queue(name))).collect();
        let mut routes = Vec::with_capacity(options.task_routes.len());
        for route in &options.task_routes {
            let pattern = Pattern::read(&route.task)
                .map_err(|reason| Error::Invalid { key: "task_routes".to_owned(), reason })?;
            routes.push((pattern, destination_of(route, &topology)));
        }
        let default_queue = options.default_queue.clone();
        Ok(Self { topology, routes, queues, default_queue, seen: RwLock::default() })
    }

    /// Everything that the routes need to exist.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Where a call of `task` goes. `declared` is the queue that is declared with the task.
    ///
    /// # Errors
    /// When call or task name a queue that is not declared, or the call contradicts itself.
    pub fn route(&self, task: &str, call: &CallRoute, declared: Option<&str>) -> Result<Destination> {
        let route = self.first_match(task);
        let refused = |reason| Error::NoRoute { task: task.to_owned(), reason };
        let mut destination = match (&call.queue, &call.exchange, &call.routing_key) {
            (None, None, None) => self.uncalled(route, declared).map_err(refused)?,
            (Some(queue), None, None) => self.queue(queue).map_err(refused)?,
            (None, Some(exchange), key) => self.exchange(exchange, key.as_deref().unwrap_or_default()),
            (None, None, Some(key)) => match route {
                Some(route) if !route.exchange.is_empty() => self.exchange(&route.exchange, key),
                _ => return Err(refused(format!("routing key `{key}` needs an exchange, and its route names none"))),
            },
            (Some(queue), _, _) => {
                let reason = format!("the call names queue `{queue}` and an exchange or a routing key; name one way");
                return Err(refused(reason));
            }
        };
        destination.priority = call.priority.or_else(|| route?.priority);
        destination.codec = call.codec.or_else(|| route?.codec);
        Ok(destination)
    }

    /// Where a call goes that says nothing of its way.
    fn uncalled(&self, route: Option<&Destination>, declared: Option<&str>) -> Result<Destination, String> {
        match route {
            Some(route) => Ok(route.clone()),
            None => self.queue(declared.unwrap_or(&self.default_queue)),
        }
    }

    fn queue(&self, name: &str) -> Result<Destination, String> {
        let undeclared = || {
            let nearest = did_you_mean(name, self.topology.queues.keys().map(String::as_str));
            format!("queue `{name}` is not declared{nearest}")
        };
        self.queues.get(name).cloned().ok_or_else(undeclared)
    }

    /// An exchange that is not declared is somebody else's: whether a queue is bound there, the broker says.
    fn exchange(&self, exchange: &str, routing_key: &str) -> Destination {
        at_exchange(&self.topology, exchange, routing_key)
    }

    fn first_match(&self, task: &str) -> Option<&Destination> {
        if self.routes.is_empty() {
            return None;
        }
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(task).copied();
        let index = known.unwrap_or_else(|| self.look_for(task));
        index.map(|index| &self.routes[index].1)
    }

    fn look_for(&self, task: &str) -> Option<usize> {
        let index = self.routes.iter().position(|(pattern, _)| pattern.matches(task));
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_SEEN {
            seen.insert(task.to_owned(), index);
        }
        index
    }
}

fn to_queue(name: &str) -> Destination {
    Destination {
        exchange: Cow::Borrowed(""),
        routing_key: name.to_owned(),
        priority: None,
        codec: None,
        queues: [Arc::from(name)].into(),
    }
}

fn at_exchange(topology: &Topology, exchange: &str, routing_key: &str) -> Destination {
    Destination {
        exchange: if exchange.is_empty() { Cow::Borrowed("") } else { Cow::Owned(exchange.to_owned()) },
        routing_key: routing_key.to_owned(),
        priority: None,
        codec: None,
        queues: topology.reached(exchange, routing_key).into_iter().map(Arc::from).collect(),
    }
}

/// Where a route leads that [`RoutesOptions::validate`] has let pass.
fn destination_of(route: &TaskRoute, topology: &Topology) -> Destination {
    let destination = match (&route.queue, &route.exchange) {
        (Some(queue), _) => to_queue(queue),
        (None, exchange) => {
            at_exchange(topology, exchange.as_deref().unwrap_or_default(), route.key.as_deref().unwrap_or_default())
        }
    };
    Destination { priority: route.priority, codec: route.serializer, ..destination }
}

#[cfg(test)]
mod tests;
