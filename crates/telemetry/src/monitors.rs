//! The events of a task for Celery's monitors, such as Flower.
//!
//! The part `celery` in the declaration of an event has its type and its fields in Celery's
//! protocol. [`Monitors`] takes them. A span of a message passes its events on, as long as monitors
//! are told.

use std::fmt;
use std::time::Duration;

use celeriac_protocol::Failure;
use jiff::Timestamp;

/// A field of an event for monitors: its name and its value.
pub type MonitorField<'a> = (&'static str, MonitorValue<'a>);

/// The value of a field of an event for monitors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MonitorValue<'a> {
    /// No value.
    Null,
    /// No value, and no field.
    Absent,
    /// Text.
    Text(&'a str),
    /// A number. A duration is its seconds.
    Number(f64),
    /// A count.
    Integer(u64),
    /// Several numbers.
    Numbers(&'a [f64]),
    /// Yes or no.
    Flag(bool),
    /// A time, in ISO 8601.
    Time(Timestamp),
    /// A value in JSON, to be shown as Python prints it.
    Json(&'a str),
    /// An error, to be shown as Python prints it.
    Error(&'a Failure),
}

impl<'a> From<&'a str> for MonitorValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
impl<'a> From<&'a Failure> for MonitorValue<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self::Error(failure)
    }
}
impl From<bool> for MonitorValue<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
impl From<u32> for MonitorValue<'_> {
    fn from(count: u32) -> Self {
        Self::Integer(count.into())
    }
}
impl From<Duration> for MonitorValue<'_> {
    fn from(duration: Duration) -> Self {
        Self::Number(duration.as_secs_f64())
    }
}
impl From<Timestamp> for MonitorValue<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}
impl<'a, T: Into<Self>> From<Option<T>> for MonitorValue<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Takes events for Celery's monitors. It never waits, and drops what it has no room for.
pub trait Monitors: fmt::Debug + Send + Sync {
    /// Returns `true` if monitors are told of tasks.
    fn are_told(&self) -> bool;

    /// Takes an event of a task, and returns `true`, or drops it.
    fn tell(&self, kind: &'static str, fields: &[MonitorField<'_>]) -> bool;

    /// Counts an event that is dropped because an earlier event of its task was.
    fn skip(&self);
}
