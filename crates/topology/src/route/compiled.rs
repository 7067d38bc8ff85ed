//! A compiled route of `task_routes`, and its match with one call.

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::headers::names;

use super::destination::{Destination, SendOptions, at_exchange, to_queue};
use super::function::{RouteDecision, RouteFunction, RouteFunctions, RouteRequest, RouteTarget, call_function};
use super::options::TaskRoute;
use crate::error::{Error, Result};
use crate::topology::Topology;

/// A route of `task_routes`.
#[derive(Debug)]
pub(super) struct CompiledRoute {
    pub(super) text: String,
    send_options: SendOptions,
    source: DestinationSource,
}

/// The source of the destination.
enum DestinationSource {
    /// A queue or exchange of the route.
    Fixed(Destination),
    /// A function. `None` if another program registers it.
    Function { name: String, function: Option<RouteFunction> },
}

/// The match of a route with a call.
#[derive(Debug)]
pub(super) struct Match<'a> {
    pub(super) index: usize,
    pub(super) route: &'a CompiledRoute,
    /// The decision of its function, if this program registers it.
    decision: Option<RouteDecision>,
}

impl CompiledRoute {
    /// Compiles a route that passed [`super::RoutesOptions::validate`].
    pub(super) fn compile(route: &TaskRoute, topology: &Topology) -> Self {
        let send_options = send_options_of(route);
        let source = match &route.function {
            Some(name) => DestinationSource::Function { name: name.clone(), function: None },
            None => DestinationSource::Fixed(Destination {
                send_options: send_options.clone(),
                ..fixed_destination(route, topology)
            }),
        };
        Self { text: route.task.clone(), send_options, source }
    }

    /// Adds its function, if it names one.
    pub(super) fn connect(&mut self, functions: &RouteFunctions) -> Result<(), String> {
        if let DestinationSource::Function { name, function } = &mut self.source {
            *function = functions.find(name)?;
        }
        Ok(())
    }

    /// Returns the name of its function.
    pub(super) fn function(&self) -> Option<&str> {
        match &self.source {
            DestinationSource::Fixed(_) => None,
            DestinationSource::Function { name, .. } => Some(name),
        }
    }

    /// Matches the route with a call. Returns `None` if its function returns no decision.
    pub(super) fn match_request(&self, index: usize, request: &RouteRequest<'_>) -> Result<Option<Match<'_>>, String> {
        let decision = match &self.source {
            DestinationSource::Function { name, function: Some(function) } => match call_function(function, request) {
                Ok(None) => return Ok(None),
                Ok(decision) => decision,
                Err(panic) => return Err(format!("{} panicked: {panic}", shown(index, name))),
            },
            DestinationSource::Fixed(_) | DestinationSource::Function { function: None, .. } => None,
        };
        Ok(Some(Match { index, route: self, decision }))
    }
}

impl Match<'_> {
    /// Returns the options of a message: those of the function, then those of the route.
    pub(super) fn send_options(&self) -> SendOptions {
        let route = &self.route.send_options;
        let Some(RouteDecision { send_options: own, .. }) = &self.decision else { return route.clone() };
        SendOptions {
            priority: own.priority.or(route.priority),
            codec: own.codec.or(route.codec),
            compression: own.compression.or(route.compression),
            expires: own.expires.or(route.expires),
            headers: match own.headers.is_empty() {
                true => route.headers.clone(),
                false => route.headers.iter().chain(&*own.headers).cloned().collect(),
            },
        }
    }

    /// Returns the destination of a call of `task` that sets none.
    ///
    /// # Errors
    /// Returns an error if another program registers the function, or if it chooses an undeclared
    /// queue or exchange.
    pub(super) fn destination(&self, task: &str, topology: &Topology) -> Result<Destination> {
        match (&self.route.source, &self.decision) {
            (DestinationSource::Fixed(destination), _) => Ok(destination.clone()),
            (DestinationSource::Function { name, .. }, Some(decision)) => {
                let destination = destination_of(decision, topology)
                    .map_err(|problem| format!("{}: {problem}", shown(self.index, name)))
                    .map_err(|reason| Error::NoRoute { task: task.to_owned(), reason })?;
                Ok(Destination { send_options: self.send_options(), ..destination })
            }
            (DestinationSource::Function { name, .. }, None) => {
                let (task, function) = (task.to_owned(), name.clone());
                Err(Error::RoutedElsewhere { task, index: self.index, function })
            }
        }
    }
}

/// Returns the destination of a decision, if it is declared.
fn destination_of(decision: &RouteDecision, topology: &Topology) -> Result<Destination, String> {
    if let Some((name, _)) = decision.send_options.headers.iter().find(|(name, _)| names::is_reserved(name)) {
        return Err(format!("header `{name}` is reserved; choose another name"));
    }
    match &decision.target {
        RouteTarget::Queue(queue) if topology.queues.contains_key(queue) => Ok(to_queue(topology, queue)),
        RouteTarget::Queue(queue) => {
            let nearest = did_you_mean(nearest(queue, topology.queues.keys().map(String::as_str)));
            Err(format!("queue `{queue}` is not declared{nearest}"))
        }
        RouteTarget::Exchange { exchange, routing_key } if topology.exchanges.contains_key(exchange) => {
            Ok(at_exchange(topology, exchange, routing_key))
        }
        RouteTarget::Exchange { exchange, .. } => {
            let nearest = did_you_mean(nearest(exchange, topology.exchanges.keys().map(String::as_str)));
            Err(format!("exchange `{exchange}` is not declared{nearest}"))
        }
    }
}

fn shown(index: usize, function: &str) -> String {
    format!("function `{function}` of task_routes[{index}]")
}

fn fixed_destination(route: &TaskRoute, topology: &Topology) -> Destination {
    match (&route.queue, &route.exchange) {
        (Some(queue), _) => to_queue(topology, queue),
        (None, exchange) => at_exchange(
            topology,
            exchange.as_deref().unwrap_or_default(),
            route.routing_key.as_deref().unwrap_or_default(),
        ),
    }
}

fn send_options_of(route: &TaskRoute) -> SendOptions {
    let headers = route.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let TaskRoute { priority, serializer: codec, compression, expires, .. } = *route;
    SendOptions { priority, codec, compression, expires, headers }
}

impl std::fmt::Debug for DestinationSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(destination) => formatter.debug_tuple("Fixed").field(destination).finish(),
            Self::Function { name, .. } => formatter.debug_tuple("Function").field(name).finish(),
        }
    }
}
