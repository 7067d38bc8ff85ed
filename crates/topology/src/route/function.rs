//! Functions that stand in for routes: they see the call and answer where it goes, or pass.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use celeriac_config::{did_you_mean, nearest};
use celeriac_protocol::{Codec, Compression, Map, Value};
use indexmap::IndexMap;

use super::Manner;

/// What a function is asked: where does this call go?
#[derive(Debug, Clone, Copy)]
pub struct RouteQuestion<'a> {
    /// Name of the task.
    pub task: &'a str,
    /// Positional arguments. None where only the task is known.
    pub args: &'a [Value],
    /// Named arguments. None where only the task is known.
    pub kwargs: &'a Map,
    /// The caller's own headers.
    pub headers: &'a [(String, Value)],
}

/// A question about a task of whose call nothing is known.
impl<'a> From<&'a str> for RouteQuestion<'a> {
    fn from(task: &'a str) -> Self {
        static NOTHING: LazyLock<Map> = LazyLock::new(Map::new);
        Self { task, args: &[], kwargs: &NOTHING, headers: &[] }
    }
}

/// What a function answers: a way, and how a message goes there. What it does not say, its line of `task_routes` says;
/// and what the call says stands above both.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteAnswer {
    /// The way.
    pub way: Way,
    /// How, as a line of `task_routes` would say it.
    pub manner: Manner,
}

/// Where a function sends a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To a queue that is declared.
    Queue(String),
    /// To an exchange that is declared.
    Exchange {
        /// The exchange.
        exchange: String,
        /// The routing key.
        key: String,
    },
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(formatter, "queue {queue}"),
            Self::Exchange { exchange, key } => write!(formatter, "exchange {exchange}, key {key}"),
        }
    }
}

impl RouteAnswer {
    /// To a queue.
    pub fn queue(queue: impl Into<String>) -> Self {
        Self { way: Way::Queue(queue.into()), manner: Manner::default() }
    }

    /// To an exchange, with a routing key.
    pub fn exchange(exchange: impl Into<String>, key: impl Into<String>) -> Self {
        Self { way: Way::Exchange { exchange: exchange.into(), key: key.into() }, manner: Manner::default() }
    }

    /// With this priority.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.manner.priority = Some(priority);
        self
    }

    /// Written so.
    #[must_use]
    pub fn serializer(mut self, codec: Codec) -> Self {
        self.manner.codec = Some(codec);
        self
    }

    /// Compressed so.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.manner.compression = Some(compression);
        self
    }

    /// Not to be started later than this after sending.
    #[must_use]
    pub fn expires(mut self, expires: Duration) -> Self {
        self.manner.expires = Some(expires);
        self
    }

    /// With this header, which the framework must not know.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let added = [(name.into(), value.into())];
        self.manner.headers = self.manner.headers.iter().cloned().chain(added).collect();
        self
    }
}

/// A function that stands in for a route. It is asked at every call, so it should be quick, and it should answer the same
/// question always the same: it neither waits nor remembers.
pub type RouteFunction = Arc<dyn Fn(&RouteQuestion<'_>) -> Option<RouteAnswer> + Send + Sync>;

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

    /// Whether there is a function of this name, as far as can be known here; or the reason why not.
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

/// Asks a function. One that panics does so at the cost of this call alone.
pub(super) fn ask(function: &RouteFunction, question: &RouteQuestion<'_>) -> Result<Option<RouteAnswer>, String> {
    catch_unwind(AssertUnwindSafe(|| function(question))).map_err(|panic| said(panic.as_ref()))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}
