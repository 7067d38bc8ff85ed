//! A line of `task_routes`, ready to be tried, and what it says of one call.

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::headers::names;

use super::function::{RouteAnswer, RouteFunction, RouteFunctions, RouteQuestion, Way, ask};
use super::pattern::Pattern;
use super::{Destination, Manner, TaskRoute, at_exchange, to_queue};
use crate::error::{Error, Result};
use crate::topology::Topology;

/// A line of `task_routes`.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) pattern: Pattern,
    pub(super) text: String,
    manner: Manner,
    target: Target,
}

/// Who says the way.
enum Target {
    /// The line itself.
    Fixed(Destination),
    /// A function; which one is not known where another program has it.
    Function { name: String, function: Option<RouteFunction> },
}

/// What a line says of a call that it is for.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) index: usize,
    pub(super) line: &'a Line,
    /// What its function answers, where it has one that can be asked here.
    answer: Option<RouteAnswer>,
}

impl Line {
    /// Reads a line that [`super::RoutesOptions::validate`] has let pass.
    pub(super) fn read(route: &TaskRoute, topology: &Topology) -> Result<Self> {
        let pattern =
            Pattern::read(&route.task).map_err(|reason| Error::Invalid { key: "task_routes".to_owned(), reason })?;
        let manner = manner_of(route);
        let target = match &route.function {
            Some(name) => Target::Function { name: name.clone(), function: None },
            None => Target::Fixed(Destination { manner: manner.clone(), ..way_of(route, topology) }),
        };
        Ok(Self { pattern, text: route.task.clone(), manner, target })
    }

    /// Gives it its function, if it names one.
    pub(super) fn connect(&mut self, functions: &RouteFunctions) -> Result<(), String> {
        if let Target::Function { name, function } = &mut self.target {
            *function = functions.find(name)?;
        }
        Ok(())
    }

    /// The function it names.
    pub(super) fn function(&self) -> Option<&str> {
        match &self.target {
            Target::Fixed(_) => None,
            Target::Function { name, .. } => Some(name),
        }
    }

    /// What it says of a call. `None` when its function passes it on to the next line.
    pub(super) fn say(&self, index: usize, question: &RouteQuestion<'_>) -> Result<Option<Said<'_>>, String> {
        let answer = match &self.target {
            Target::Function { name, function: Some(function) } => match ask(function, question) {
                Ok(None) => return Ok(None),
                Ok(answer) => answer,
                Err(panic) => return Err(format!("{} panicked: {panic}", shown(index, name))),
            },
            Target::Fixed(_) | Target::Function { function: None, .. } => None,
        };
        Ok(Some(Said { index, line: self, answer }))
    }
}

impl Said<'_> {
    /// How a message goes: the function's word before the line's.
    pub(super) fn manner(&self) -> Manner {
        let line = &self.line.manner;
        let Some(RouteAnswer { manner: own, .. }) = &self.answer else { return line.clone() };
        Manner {
            priority: own.priority.or(line.priority),
            codec: own.codec.or(line.codec),
            compression: own.compression.or(line.compression),
            expires: own.expires.or(line.expires),
            headers: match own.headers.is_empty() {
                true => line.headers.clone(),
                false => line.headers.iter().chain(&*own.headers).cloned().collect(),
            },
        }
    }

    /// Where a call of `task` goes that says nothing of its way.
    ///
    /// # Errors
    /// When a function would say, and is not here, or answers what is not declared.
    pub(super) fn destination(&self, task: &str, topology: &Topology) -> Result<Destination> {
        match (&self.line.target, &self.answer) {
            (Target::Fixed(destination), _) => Ok(destination.clone()),
            (Target::Function { name, .. }, Some(answer)) => {
                let destination = answered(answer, topology)
                    .map_err(|problem| format!("{}: {problem}", shown(self.index, name)))
                    .map_err(|reason| Error::NoRoute { task: task.to_owned(), reason })?;
                Ok(Destination { manner: self.manner(), ..destination })
            }
            (Target::Function { name, .. }, None) => {
                let (task, function) = (task.to_owned(), name.clone());
                Err(Error::RoutedElsewhere { task, index: self.index, function })
            }
        }
    }
}

/// Where an answer leads, if that is declared.
fn answered(answer: &RouteAnswer, topology: &Topology) -> Result<Destination, String> {
    if let Some((name, _)) = answer.manner.headers.iter().find(|(name, _)| names::is_reserved(name)) {
        return Err(format!("header `{name}` is the framework's own; choose another name"));
    }
    match &answer.way {
        Way::Queue(queue) if topology.queues.contains_key(queue) => Ok(to_queue(topology, queue)),
        Way::Queue(queue) => {
            let nearest = did_you_mean(nearest(queue, topology.queues.keys().map(String::as_str)));
            Err(format!("queue `{queue}` is not declared{nearest}"))
        }
        Way::Exchange { exchange, key } if topology.exchanges.contains_key(exchange) => {
            Ok(at_exchange(topology, exchange, key))
        }
        Way::Exchange { exchange, .. } => {
            let nearest = did_you_mean(nearest(exchange, topology.exchanges.keys().map(String::as_str)));
            Err(format!("exchange `{exchange}` is not declared{nearest}"))
        }
    }
}

fn shown(index: usize, function: &str) -> String {
    format!("function `{function}` of task_routes[{index}]")
}

fn way_of(route: &TaskRoute, topology: &Topology) -> Destination {
    match (&route.queue, &route.exchange) {
        (Some(queue), _) => to_queue(topology, queue),
        (None, exchange) => {
            at_exchange(topology, exchange.as_deref().unwrap_or_default(), route.key.as_deref().unwrap_or_default())
        }
    }
}

fn manner_of(route: &TaskRoute) -> Manner {
    let headers = route.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let TaskRoute { priority, serializer: codec, compression, expires, .. } = *route;
    Manner { priority, codec, compression, expires, headers }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(destination) => formatter.debug_tuple("Fixed").field(destination).finish(),
            Self::Function { name, .. } => formatter.debug_tuple("Function").field(name).finish(),
        }
    }
}
