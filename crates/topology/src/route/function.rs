//! Functions in place of routes. Each gets the call, and chooses its destination or leaves it to
//! the next route.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::{Codec, Compression, Map, Value};
use indexmap::IndexMap;

use super::destination::SendOptions;

/// A call for a function to decide.
#[derive(Debug, Clone, Copy)]
pub struct RouteRequest<'a> {
    /// Name of the task.
    pub task: &'a str,
    /// Positional arguments. Empty if only the task is known.
    pub args: &'a [Value],
    /// Named arguments. Empty if only the task is known.
    pub kwargs: &'a Map,
    /// The caller's own headers.
    pub headers: &'a [(String, Value)],
}

/// A call of which only the task is known.
impl<'a> From<&'a str> for RouteRequest<'a> {
    fn from(task: &'a str) -> Self {
        static NOTHING: LazyLock<Map> = LazyLock::new(Map::new);
        Self { task, args: &[], kwargs: &NOTHING, headers: &[] }
    }
}

/// The decision of a function: a target, and options of the message. Options of the call win over
/// these, which win over those of the route.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDecision {
    /// The target.
    pub target: RouteTarget,
    /// The options, as in a route.
    pub send_options: SendOptions,
}

/// The target that a function chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// A declared queue.
    Queue(String),
    /// A declared exchange.
    Exchange {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
}

impl fmt::Display for RouteTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(formatter, "queue {queue}"),
            Self::Exchange { exchange, routing_key } => write!(formatter, "exchange {exchange}, key {routing_key}"),
        }
    }
}

impl RouteDecision {
    /// Chooses a queue.
    pub fn queue(queue: impl Into<String>) -> Self {
        Self { target: RouteTarget::Queue(queue.into()), send_options: SendOptions::default() }
    }

    /// Chooses an exchange and a routing key.
    pub fn exchange(exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self {
            target: RouteTarget::Exchange { exchange: exchange.into(), routing_key: routing_key.into() },
            send_options: SendOptions::default(),
        }
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.send_options.priority = Some(priority);
        self
    }

    /// Sets the serializer.
    #[must_use]
    pub fn serializer(mut self, codec: Codec) -> Self {
        self.send_options.codec = Some(codec);
        self
    }

    /// Sets the compression.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.send_options.compression = Some(compression);
        self
    }

    /// Sets the time after sending in which the task has to start.
    #[must_use]
    pub fn expires(mut self, expires: Duration) -> Self {
        self.send_options.expires = Some(expires);
        self
    }

    /// Adds a header. Its name must not be reserved.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let added = [(name.into(), value.into())];
        self.send_options.headers = self.send_options.headers.iter().cloned().chain(added).collect();
        self
    }
}

/// A function in place of a route. It runs at every call, so it should be quick, and should always
/// decide equal calls alike.
pub type RouteFunction = Arc<dyn Fn(&RouteRequest<'_>) -> Option<RouteDecision> + Send + Sync>;

/// The functions that `task_routes` may name.
#[derive(Clone)]
pub enum RouteFunctions {
    /// The functions of this program, by name.
    Here(IndexMap<String, RouteFunction>),
    /// Another program has them. This one reads its configuration, and cannot know their decisions.
    Elsewhere,
}

impl Default for RouteFunctions {
    fn default() -> Self {
        Self::Here(IndexMap::new())
    }
}

impl RouteFunctions {
    /// Adds a function. It replaces one of the same name.
    #[must_use]
    pub fn with(self, name: impl Into<String>, function: RouteFunction) -> Self {
        let mut functions = match self {
            Self::Here(functions) => functions,
            Self::Elsewhere => IndexMap::new(),
        };
        functions.insert(name.into(), function);
        Self::Here(functions)
    }

    /// Returns the function of this name. `None` if another program may have it.
    ///
    /// # Errors
    /// Returns an error if this program does not have the function.
    pub fn find(&self, name: &str) -> Result<Option<RouteFunction>, String> {
        let Self::Here(functions) = self else { return Ok(None) };
        if let Some(function) = functions.get(name) {
            return Ok(Some(Arc::clone(function)));
        }
        let help = match nearest(name, functions.keys().map(String::as_str)) {
            None if functions.is_empty() => format!("; add it to the builder with `.route(\"{name}\", …)`"),
            nearest => did_you_mean(nearest),
        };
        Err(format!("function `{name}` does not exist{help}"))
    }
}

impl fmt::Debug for RouteFunctions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(functions) => formatter.debug_set().entries(functions.keys()).finish(),
            Self::Elsewhere => formatter.write_str("Elsewhere"),
        }
    }
}

/// Calls a function. A panic fails this call alone.
pub(super) fn call_function(
    function: &RouteFunction,
    request: &RouteRequest<'_>,
) -> Result<Option<RouteDecision>, String> {
    catch_unwind(AssertUnwindSafe(|| function(request))).map_err(|panic| message_of(panic.as_ref()))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}
