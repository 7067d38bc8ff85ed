//! Durations: `10s`, `5ms`, `1m 30s`, `7d`.
//!
//! For a field of type [`Duration`]: `#[serde(with = "duration")]`. For an optional one:
//! `#[serde(with = "duration::option")]`. Longer names of units, such as `30sec` and `2 hours`, are
//! read too. Numbers without a unit, months and years are errors.

use std::time::Duration;

pub use celeriac_units::approximate_duration as approximate;
pub use celeriac_units::format_duration as format;

use crate::text::ConfigValue;
pub use crate::text::{deserialize, option, serialize};

/// Reads `1m 30s`, for arguments of a command line.
///
/// # Errors
/// Returns a message with the expected form.
pub fn parse(text: &str) -> Result<Duration, String> {
    Duration::read(text)
}
