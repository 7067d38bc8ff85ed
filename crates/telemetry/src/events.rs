//! The events of a program: one declaration each.
//!
//! `event!` declares the struct of an event, with its log line, its span event, its form in
//! Celery's protocol, and its counter. The code where the event happens makes the struct and
//! [emits](Event::emit) it. No other line is logged.
//!
//! A log line is a fixed phrase, then fields: `consumer restored queue=billing after=1.2s`. A thing
//! has the same word and the same field in every line: `task`, `id`, `attempt`, `queue`,
//! `exchange`, `routing_key`, `error`, and `url` without its password. A time is a number of
//! seconds, in a field whose name ends with `_seconds`. Text shows `retry_in_seconds` as
//! `retry_in=1.2s`.
//!
//! The target of a line is `celeriac::` and its area, which is the name of the module here. The
//! level follows from the reader's task:
//!
//! - `ERROR`: somebody must act;
//! - `WARN`: something is degraded, or is tried again;
//! - `INFO`: the state of the process changed;
//! - `DEBUG`: a step of a single task or message;
//! - `TRACE`: a step of a batch.
//!
//! `docs/logs.md` lists every line, and a test compares it with the declarations.

#[macro_use]
mod declare;

pub mod admin;
pub mod broker;
pub mod client;
pub mod config;
pub mod delivery;
pub mod monitors;
pub mod relay;
pub mod results;
pub mod telemetry;
pub mod worker;

use std::fmt;
use std::time::Duration;

use tracing::Level;

use crate::monitors::MonitorField;

/// An event of a program. The macro `event!` implements it.
pub trait Event: fmt::Debug {
    /// The level of the log line.
    const LEVEL: Level;

    /// Writes the log line and counts the event.
    fn emit(&self);

    /// Passes name and attributes of the span event to `add_event`. Does nothing for an event
    /// without a span event.
    fn add_to_span(&self, add_event: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        let _ = add_event;
    }

    /// Passes type and fields of the event in Celery's protocol to `tell`. Does nothing for an
    /// event that has none.
    fn tell_monitors(&self, tell: &mut dyn FnMut(&'static str, &[MonitorField<'_>])) {
        let _ = tell;
    }
}

/// An attribute of a span event: its name and its value.
pub type Attribute<'a> = (&'static str, AttributeValue<'a>);

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AttributeValue<'a> {
    /// Text.
    Text(&'a str),
    /// A number. A duration is its seconds.
    Number(f64),
    /// A value that is not known. The attribute is left out.
    Absent,
}

impl<'a> From<&'a str> for AttributeValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
impl From<Option<Duration>> for AttributeValue<'_> {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Absent, Self::from)
    }
}
impl From<Duration> for AttributeValue<'_> {
    fn from(duration: Duration) -> Self {
        Self::Number(duration.as_secs_f64())
    }
}
