//! Everything worth telling, one struct each.
//!
//! A struct is made where something happened and [told](Occurrence::tell) on the spot. Its log line, its metric and its
//! mark on the task's span are written side by side here, so that they never disagree. Where the log level is off, telling
//! costs a counter.

pub mod broker;
pub mod client;
pub mod relay;
pub mod results;
pub mod traces;
pub mod worker;

use std::fmt;

use tracing::Level;

/// Something that happened.
pub trait Occurrence: fmt::Debug {
    /// Counts it and writes its line.
    fn tell(&self);

    /// The level of its line.
    fn level(&self) -> Level;

    /// Hands its name and its details to `mark`, where the span of its task should show it.
    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        let _ = mark;
    }
}

/// A detail of a span event: its name and its value.
pub type Attribute<'a> = (&'static str, Detail<'a>);

/// The value of a detail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Detail<'a> {
    /// Text.
    Text(&'a str),
    /// A count.
    Count(u64),
    /// A duration in seconds, or another number that is no count.
    Number(f64),
    /// True or false.
    Flag(bool),
}

impl<'a> From<&'a str> for Detail<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
impl From<u32> for Detail<'_> {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}
impl From<u64> for Detail<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}
impl From<std::time::Duration> for Detail<'_> {
    fn from(duration: std::time::Duration) -> Self {
        Self::Number(duration.as_secs_f64())
    }
}
impl From<bool> for Detail<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
