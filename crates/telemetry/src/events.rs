//! The events of a program: one declaration each.
//!
//! `event!` declares the struct of an event, with the level and text of its log line, its span
//! event, and its counter. The code where the event happens makes the struct and
//! [emits](Event::emit) it.

#[macro_use]
mod declare;

pub mod broker;
pub mod client;
pub mod metrics;
pub mod relay;
pub mod results;
pub mod traces;
pub mod worker;

use std::fmt;
use std::time::Duration;

use tracing::Level;

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
}

impl<'a> From<&'a str> for AttributeValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
impl From<Duration> for AttributeValue<'_> {
    fn from(duration: Duration) -> Self {
        Self::Number(duration.as_secs_f64())
    }
}
