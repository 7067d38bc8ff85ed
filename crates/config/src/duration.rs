//! Durations: `10s`, `5ms`, `1m 30s`, `7d`.
//!
//! For a field of type [`Duration`]: `#[serde(with = "duration")]`; for an optional one:
//! `#[serde(with = "duration::option")]`. A number without a unit is refused, and so are months and years.

use std::time::Duration;

pub use celeriac_units::format_duration as format;

use crate::text::ConfigValue;
pub use crate::text::{deserialize, option, serialize};

/// Reads `1m 30s`. For arguments of a command line.
///
/// # Errors
/// A sentence that says how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    Duration::read(text)
}
