//! Dates and times. A result is a `Value`, because Python gets a date of serde as text.

use celeriac::jiff::civil::{Date, DateTime};
use celeriac::jiff::{SignedDuration, Timestamp};
use celeriac::prelude::*;
use celeriac::protocol::Value;
use serde::{Deserialize, Serialize};

const PREFIX: &str = "fleet.dates.";

pub(crate) fn tasks() -> Tasks {
    tasks![next_day, due, slot]
}

#[task(prefix = PREFIX)]
async fn next_day(day: Date) -> TaskResult<Value> {
    Ok(day.tomorrow()?.into())
}

#[task(prefix = PREFIX)]
async fn due(start: Timestamp, days: i64) -> TaskResult<Value> {
    Ok(start.checked_add(SignedDuration::from_hours(24 * days))?.into())
}

/// A reservation.
#[derive(Serialize, Deserialize)]
struct Slot {
    start: Value,
    end: Value,
}

#[task(prefix = PREFIX)]
async fn slot(start: DateTime, hours: i64) -> TaskResult<Slot> {
    let end = start.checked_add(SignedDuration::from_hours(hours))?;
    Ok(Slot { start: start.into(), end: end.into() })
}
