//! Which exchange and queue a task goes to. Pure.

mod function;
mod line;
mod options;
mod pattern;
mod validate;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::{Codec, Compression, Value};

use crate::delay::Ladder;
use crate::error::{Error, Result};
use crate::queue::{DIRECT_EXCHANGE, direct_queue};
use crate::topology::Topology;

pub use function::{RouteAnswer, RouteFunction, RouteFunctions, RouteQuestion, Way};
use line::{Line, Said};
pub use options::{RoutesOptions, TaskRoute};
pub use pattern::Pattern;

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
#[derive(Debug, Clone, PartialEq)]
pub struct Destination {
    /// The exchange; empty for the default exchange.
    pub exchange: Cow<'static, str>,
    /// The routing key.
    pub routing_key: String,
    /// How it is sent there.
    pub manner: Manner,
    /// The queues it reaches by what is declared. None when only the broker knows.
    pub queues: Arc<[Arc<str>]>,
}

/// What a route says of a message beside its way, for calls that do not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Manner {
    /// The priority.
    pub priority: Option<u8>,
    /// The serialiser.
    pub codec: Option<Codec>,
    /// How the body is compressed.
    pub compression: Option<Compression>,
    /// How long it may wait before it must not start any more.
    pub expires: Option<Duration>,
    /// Headers beside the caller's own.
    pub headers: Arc<[(String, Value)]>,
}

/// Why a call goes where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation<'a> {
    /// What decided.
    pub rule: Rule<'a>,
    /// What it decided.
    pub destination: Destination,
}

/// What decides where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'a> {
    /// The call itself.
    Call,
    /// A line of `task_routes`.
    Route {
        /// Which, from 0.
        index: usize,
        /// Its pattern.
        pattern: &'a str,
        /// The function that it leaves the way to.
        function: Option<&'a str>,
    },
    /// The queue that is declared with the task.
    Task,
    /// Nothing else: the default queue.
    Default,
}

impl Destination {
    /// The same destination, reached after `delay`, of which the ladder knows whole seconds.
    ///
    /// A delayed message is addressed to a queue by its name.
    ///
    /// # Errors
    /// When the declared bindings lead to any other number of queues than one.
    pub fn delayed(self, delay: Duration, ladder: &Ladder) -> Result<Self> {
        let reason = match &*self.queues {
            [queue] => {
                return Ok(match ladder.address(delay, queue) {
                    Some((exchange, routing_key)) => Self { exchange: Cow::Owned(exchange), routing_key, ..self },
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
    routes: Vec<Line>,
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
        let queues = topology.queues.keys().map(|name| (name.clone(), to_queue(&topology, name))).collect();
        let routes = options.task_routes.iter().map(|route| Line::read(route, &topology)).collect::<Result<_>>()?;
        let default_queue = options.default_queue.clone();
        Ok(Self { topology, routes, queues, default_queue, seen: RwLock::default() })
    }

    /// The same router, with the functions that its routes name. Without them, calls that they would lead are refused.
    ///
    /// # Errors
    /// When a route names a function that is not there.
    pub fn with_functions(mut self, functions: &RouteFunctions) -> Result<Self> {
        for (index, line) in self.routes.iter_mut().enumerate() {
            let key = || format!("task_routes[{index}].function");
            line.connect(functions).map_err(|reason| Error::Invalid { key: key(), reason })?;
        }
        Ok(self)
    }

    /// Everything that the routes need to exist.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Where a call goes. `declared` is the queue that is declared with the task.
    ///
    /// # Errors
    /// When call, task or function name a queue that is not declared, the call contradicts itself, or a function panics.
    pub fn route<'q>(
        &self,
        question: impl Into<RouteQuestion<'q>>,
        call: &CallRoute,
        declared: Option<&str>,
    ) -> Result<Destination> {
        self.explain(question, call, declared).map(|explanation| explanation.destination)
    }

    /// Where a call goes, and what decides it.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn explain<'q>(
        &self,
        question: impl Into<RouteQuestion<'q>>,
        call: &CallRoute,
        declared: Option<&str>,
    ) -> Result<Explanation<'_>> {
        let question = question.into();
        let task = question.task;
        let refused = |reason| Error::NoRoute { task: task.to_owned(), reason };
        let said = self.first_that_says(&question).map_err(refused)?;
        let (rule, mut destination) = match (&call.queue, &call.exchange, &call.routing_key) {
            (None, None, None) => self.uncalled(task, said.as_ref(), declared)?,
            (Some(queue), None, None) => (Rule::Call, self.queue(queue).map_err(refused)?),
            (None, Some(exchange), key) => (Rule::Call, self.exchange(exchange, key.as_deref().unwrap_or_default())),
            (None, None, Some(key)) => (Rule::Call, self.keyed(task, said.as_ref(), key)?),
            (Some(queue), _, _) => {
                let reason = format!("the call names queue `{queue}` and an exchange or a routing key; name one way");
                return Err(refused(reason));
            }
        };
        // Also where the call chooses the way, its route says how.
        let manner = said.map(|said| said.manner()).unwrap_or_default();
        destination.manner =
            Manner { priority: call.priority.or(manner.priority), codec: call.codec.or(manner.codec), ..manner };
        Ok(Explanation { rule, destination })
    }

    /// Where a call goes that says nothing of its way, and what decides that.
    fn uncalled(&self, task: &str, said: Option<&Said<'_>>, declared: Option<&str>) -> Result<(Rule<'_>, Destination)> {
        if let Some(said) = said {
            let line = &self.routes[said.index];
            let rule = Rule::Route { index: said.index, pattern: &line.text, function: line.function() };
            return Ok((rule, said.destination(task, &self.topology)?));
        }
        let rule = if declared.is_some() { Rule::Task } else { Rule::Default };
        let found = self.queue(declared.unwrap_or(&self.default_queue));
        let found = found.map_err(|reason| Error::NoRoute { task: task.to_owned(), reason })?;
        Ok((rule, found))
    }

    /// Where a call goes that says its routing key alone: to the exchange of its route.
    fn keyed(&self, task: &str, said: Option<&Said<'_>>, key: &str) -> Result<Destination> {
        let exchange = match said {
            Some(said) => said.destination(task, &self.topology)?.exchange,
            None => Cow::Borrowed(""),
        };
        if exchange.is_empty() {
            let reason = format!("routing key `{key}` needs an exchange, and its route names none");
            return Err(Error::NoRoute { task: task.to_owned(), reason });
        }
        Ok(self.exchange(&exchange, key))
    }

    fn queue(&self, name: &str) -> Result<Destination, String> {
        let undeclared = || {
            let nearest = did_you_mean(nearest(name, self.topology.queues.keys().map(String::as_str)));
            format!("queue `{name}` is not declared{nearest}")
        };
        self.queues.get(name).cloned().ok_or_else(undeclared)
    }

    /// An exchange that is not declared is somebody else's: whether a queue is bound there, the broker says.
    fn exchange(&self, exchange: &str, routing_key: &str) -> Destination {
        at_exchange(&self.topology, exchange, routing_key)
    }

    /// What the first line says that is for this call, and whose function does not pass it on.
    fn first_that_says(&self, question: &RouteQuestion<'_>) -> Result<Option<Said<'_>>, String> {
        let mut next = self.first_match(question.task);
        while let Some(index) = next {
            let said = self.routes[index].say(index, question)?;
            if said.is_some() {
                return Ok(said);
            }
            // A function may answer otherwise the next time, so what comes after it is not remembered.
            let mut after = self.routes.iter().enumerate().skip(index + 1);
            next = after.find(|(_, line)| line.pattern.matches(question.task)).map(|(index, _)| index);
        }
        Ok(None)
    }

    fn first_match(&self, task: &str) -> Option<usize> {
        if self.routes.is_empty() {
            return None;
        }
        let known = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(task).copied();
        known.unwrap_or_else(|| self.look_for(task))
    }

    fn look_for(&self, task: &str) -> Option<usize> {
        let index = self.routes.iter().position(|line| line.pattern.matches(task));
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() < MOST_SEEN {
            seen.insert(task.to_owned(), index);
        }
        index
    }
}

/// A broadcast is an exchange of that name, where every worker has a queue of its own.
fn to_queue(topology: &Topology, name: &str) -> Destination {
    let broadcast = topology.queues.get(name).is_some_and(|queue| queue.broadcast);
    Destination {
        exchange: if broadcast { Cow::Owned(name.to_owned()) } else { Cow::Borrowed("") },
        routing_key: name.to_owned(),
        manner: Manner::default(),
        queues: [Arc::from(name)].into(),
    }
}

fn at_exchange(topology: &Topology, exchange: &str, routing_key: &str) -> Destination {
    let worker = (exchange == DIRECT_EXCHANGE).then(|| direct_queue(routing_key));
    let declared = topology.reached(exchange, routing_key).into_iter().flatten();
    Destination {
        exchange: if exchange.is_empty() { Cow::Borrowed("") } else { Cow::Owned(exchange.to_owned()) },
        routing_key: routing_key.to_owned(),
        manner: Manner::default(),
        queues: declared.chain(worker.as_deref()).map(Arc::from).collect(),
    }
}

#[cfg(test)]
mod tests;
