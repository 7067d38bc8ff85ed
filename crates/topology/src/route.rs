//! Routing: the exchange, the routing key and the options of each call. Pure.
//! - `options`, `validate`: the configuration of routes, and mistakes in it;
//! - `function`: functions of the program that choose in place of routes;
//! - `compiled`: a compiled route, and its match with a call;
//! - `destination`: the destination of a message, and its options.

mod compiled;
mod destination;
mod function;
mod options;
mod validate;

use std::borrow::Cow;
use std::collections::HashMap;

use celeriac_config::{did_you_mean, nearest};

use crate::error::{Error, Result};
use crate::pattern::{Pattern, PatternTable};
use crate::topology::Topology;

use compiled::{CompiledRoute, Match};
pub use destination::{CallRoute, Destination, SendOptions};
use destination::{at_exchange, to_queue};
pub use function::{RouteDecision, RouteFunction, RouteFunctions, RouteRequest, RouteTarget};
pub use options::{RoutesOptions, TaskRoute};

/// The destination of a call, with the rule that decided it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation<'a> {
    /// The rule.
    pub rule: RouteRule<'a>,
    /// The destination.
    pub destination: Destination,
}

/// The rule that decides the destination of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteRule<'a> {
    /// The call itself.
    Call,
    /// A route of `task_routes`.
    Route {
        /// Its index, from 0.
        index: usize,
        /// Its pattern.
        pattern: &'a str,
        /// The function that decides in its place, if it has one.
        function: Option<&'a str>,
    },
    /// The queue that is declared with the task.
    Task,
    /// The default queue.
    Default,
}

/// Chooses the destination of calls. The call itself decides, then the first matching route, then
/// the queue that is declared with the task, then the default queue.
#[derive(Debug)]
pub struct Router {
    topology: Topology,
    routes: Vec<CompiledRoute>,
    /// The destination of every declared queue, by name.
    queues: HashMap<String, Destination>,
    default_queue: String,
    /// The patterns of the routes, with the first matching route of each task.
    patterns: PatternTable<Option<usize>>,
}

impl Router {
    /// Makes a router from options.
    ///
    /// # Errors
    /// Returns the first problem that [`RoutesOptions::validate`] finds.
    pub fn new(options: &RoutesOptions) -> Result<Self> {
        if let Some((key, reason)) = options.validate().into_iter().next() {
            return Err(Error::Invalid { key, reason });
        }
        let topology = options.topology();
        let queues = topology.queues.keys().map(|name| (name.clone(), to_queue(&topology, name))).collect();
        let routes = options.task_routes.iter().map(|route| CompiledRoute::compile(route, &topology)).collect();
        let patterns = options.task_routes.iter().map(|route| Pattern::read(&route.task)).collect::<Result<_, _>>();
        let patterns = patterns.map_err(|reason| Error::Invalid { key: "task_routes".to_owned(), reason })?;
        let default_queue = options.default_queue.clone();
        Ok(Self { topology, routes, queues, default_queue, patterns: PatternTable::new(patterns) })
    }

    /// Adds the functions that routes name. Without them, calls that they decide are errors.
    ///
    /// # Errors
    /// Returns an error if a route names an unknown function.
    pub fn with_functions(mut self, functions: &RouteFunctions) -> Result<Self> {
        for (index, route) in self.routes.iter_mut().enumerate() {
            let key = || format!("task_routes[{index}].function");
            route.connect(functions).map_err(|reason| Error::Invalid { key: key(), reason })?;
        }
        Ok(self)
    }

    /// Returns the exchanges and queues that the routes need.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Returns the destination of a call. `declared` is the queue that is declared with the task.
    ///
    /// # Errors
    /// Returns an error if the call, the task or a function names an undeclared queue, if the call
    /// contradicts itself, or if a function panics.
    pub fn route<'q>(
        &self,
        request: impl Into<RouteRequest<'q>>,
        call: &CallRoute,
        declared: Option<&str>,
    ) -> Result<Destination> {
        self.explain(request, call, declared).map(|explanation| explanation.destination)
    }

    /// Returns the destination of a call, with the rule that decides it.
    ///
    /// # Errors
    /// Returns the errors of [`Router::route`].
    pub fn explain<'q>(
        &self,
        request: impl Into<RouteRequest<'q>>,
        call: &CallRoute,
        declared: Option<&str>,
    ) -> Result<Explanation<'_>> {
        let request = request.into();
        let task = request.task;
        let refused = |reason| Error::NoRoute { task: task.to_owned(), reason };
        let matched = self.first_match(&request).map_err(refused)?;
        let (rule, mut destination) = match (&call.queue, &call.exchange, &call.routing_key) {
            (None, None, None) => self.by_route(task, matched.as_ref(), declared)?,
            (Some(queue), None, None) => (RouteRule::Call, self.queue(queue).map_err(refused)?),
            (None, Some(exchange), key) => {
                (RouteRule::Call, self.exchange(exchange, key.as_deref().unwrap_or_default()))
            }
            (None, None, Some(key)) => (RouteRule::Call, self.by_routing_key(task, matched.as_ref(), key)?),
            (Some(queue), _, _) => {
                let reason = format!("the call names queue `{queue}` and an exchange or a routing key; name one way");
                return Err(refused(reason));
            }
        };
        // The options of its route apply even if the call chooses its destination itself.
        let send_options = matched.map(|matched| matched.send_options()).unwrap_or_default();
        destination.send_options = SendOptions {
            priority: call.priority.or(send_options.priority),
            codec: call.codec.or(send_options.codec),
            ..send_options
        };
        Ok(Explanation { rule, destination })
    }

    /// Returns the destination of a call without a destination, with the rule that decides it.
    fn by_route(
        &self,
        task: &str,
        matched: Option<&Match<'_>>,
        declared: Option<&str>,
    ) -> Result<(RouteRule<'_>, Destination)> {
        if let Some(matched) = matched {
            let route = &self.routes[matched.index];
            let rule = RouteRule::Route { index: matched.index, pattern: &route.text, function: route.function() };
            return Ok((rule, matched.destination(task, &self.topology)?));
        }
        let rule = if declared.is_some() { RouteRule::Task } else { RouteRule::Default };
        let found = self.queue(declared.unwrap_or(&self.default_queue));
        let found = found.map_err(|reason| Error::NoRoute { task: task.to_owned(), reason })?;
        Ok((rule, found))
    }

    /// Returns the destination of a call that sets only a routing key: the exchange of its route.
    fn by_routing_key(&self, task: &str, matched: Option<&Match<'_>>, key: &str) -> Result<Destination> {
        let exchange = match matched {
            Some(matched) => matched.destination(task, &self.topology)?.exchange,
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

    /// Returns the destination of an exchange. Only the broker knows the bindings of an undeclared
    /// one.
    fn exchange(&self, exchange: &str, routing_key: &str) -> Destination {
        at_exchange(&self.topology, exchange, routing_key)
    }

    /// Returns the first matching route whose function does not return `None`.
    fn first_match(&self, request: &RouteRequest<'_>) -> Result<Option<Match<'_>>, String> {
        let mut next = self.patterns.get(request.task, |places| places.next());
        while let Some(index) = next {
            let matched = self.routes[index].match_request(index, request)?;
            if matched.is_some() {
                return Ok(matched);
            }
            // A function may decide differently for the next call, so later matches are not cached.
            next = self.patterns.matches(request.task).find(|after| *after > index);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
