//! Functions that stand in for routes: each sees the call and decides its destination, or passes it on.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::{Codec, Compression, Map, Value};
use indexmap::IndexMap;

use super::destination::SendOptions;

/// A call whose destination a function decides.
#[derive(Debug, Clone, Copy)]
pub struct RouteRequest<'a> {
    /// Name of the task.
    pub task: &'a str,
    /// Positional arguments. None where only the task is known.
    pub args: &'a [Value],
    /// Named arguments. None where only the task is known.
    pub kwargs: &'a Map,
    /// The caller's own headers.
    pub headers: &'a [(String, Value)],
}

/// A task of whose call nothing is known.
impl<'a> From<&'a str> for RouteRequest<'a> {
    fn from(task: &'a str) -> Self {
        static NOTHING: LazyLock<Map> = LazyLock::new(Map::new);
        Self { task, args: &[], kwargs: &NOTHING, headers: &[] }
    }
}

/// The decision of a function: a target, and options of the message. Options that it does not set are those of its route in
/// `task_routes`; those of the call stand above both.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDecision {
    /// The target.
    pub target: Target,
    /// The options, as a route of `task_routes` would set them.
    pub send_options: SendOptions,
}

/// The target that a function chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To a queue that is declared.
    Queue(String),
    /// To an exchange that is declared.
    Exchange {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(formatter, "queue {queue}"),
            Self::Exchange { exchange, routing_key } => write!(formatter, "exchange {exchange}, key {routing_key}"),
        }
    }
}

impl RouteDecision {
    /// To a queue.
    pub fn queue(queue: impl Into<String>) -> Self {
        Self { target: Target::Queue(queue.into()), send_options: SendOptions::default() }
    }

    /// To an exchange, with a routing key.
    pub fn exchange(exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self {
            target: Target::Exchange { exchange: exchange.into(), routing_key: routing_key.into() },
            send_options: SendOptions::default(),
        }
    }

    /// With this priority.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.send_options.priority = Some(priority);
        self
    }

    /// Written so.
    #[must_use]
    pub fn serializer(mut self, codec: Codec) -> Self {
        self.send_options.codec = Some(codec);
        self
    }

    /// Compressed so.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.send_options.compression = Some(compression);
        self
    }

    /// Not to be started later than this after sending.
    #[must_use]
    pub fn expires(mut self, expires: Duration) -> Self {
        self.send_options.expires = Some(expires);
        self
    }

    /// With this header, which the framework must not know.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let added = [(name.into(), value.into())];
        self.send_options.headers = self.send_options.headers.iter().cloned().chain(added).collect();
        self
    }
}

/// A function that stands in for a route. It is called at every call, so it should be quick, and it should answer the same
/// question always the same: it neither waits nor remembers.
pub type RouteFunction = Arc<dyn Fn(&RouteRequest<'_>) -> Option<RouteDecision> + Send + Sync>;

/// The functions that `task_routes` may name.
#[derive(Clone)]
pub enum RouteFunctions {
    /// Those of this program, by name.
    Here(IndexMap<String, RouteFunction>),
    /// Another program has them: this one reads its configuration, and cannot know where its functions send a call.
    Elsewhere,
}

impl Default for RouteFunctions {
    fn default() -> Self {
        Self::Here(IndexMap::new())
    }
}

impl RouteFunctions {
    /// These and one more, in place of one of the same name.
    #[must_use]
    pub fn with(self, name: impl Into<String>, function: RouteFunction) -> Self {
        let mut functions = match self {
            Self::Here(functions) => functions,
            Self::Elsewhere => IndexMap::new(),
        };
        functions.insert(name.into(), function);
        Self::Here(functions)
    }

    /// Returns the function of this name. `None` where another program may have it.
    ///
    /// # Errors
    /// When this program has functions of its own, or none, but not this one.
    pub fn find(&self, name: &str) -> Result<Option<RouteFunction>, String> {
        let Self::Here(functions) = self else { return Ok(None) };
        if let Some(function) = functions.get(name) {
            return Ok(Some(Arc::clone(function)));
        }
        let help = match nearest(name, functions.keys().map(String::as_str)) {
            None if functions.is_empty() => format!("; the program adds it by `.route(\"{name}\", …)` to its builder"),
            nearest => did_you_mean(nearest),
        };
        Err(format!("function `{name}` is not known{help}"))
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

/// Calls a function. One that panics does so at the cost of this call alone.
pub(super) fn call_function(
    function: &RouteFunction,
    request: &RouteRequest<'_>,
) -> Result<Option<RouteDecision>, String> {
    catch_unwind(AssertUnwindSafe(|| function(request))).map_err(|panic| message_of(panic.as_ref()))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
