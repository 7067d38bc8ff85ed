//! Durations, sizes, rates, ranges and limits, in one written form.
//!
//! The attribute `#[task]`, the configuration and the command line read the same words with the
//! same meaning, because all three call this crate. It depends on nothing, so that the macros
//! compile fast. In reading order:
//!
//! - [`parse_duration`], [`format_duration`]: `1m 30s`;
//! - [`approximate_duration`]: `22.9ms`, a measured time;
//! - [`DurationRange`][]: `1s..10m`;
//! - [`TimeLimit`][]: `30s`, or `none`;
//! - [`RateLimit`][]: `100/m`;
//! - [`ByteSize`][]: `8MiB`;
//! - [`AckMode`][]: `late` or `early`;
//! - [`TrackedStates`][]: `finished`, `started` or `sent`;
//! - [`FieldPaths`][]: `card`, `customer.email`;
//! - [`task_options!`]: the options of a task, in one table;
//! - [`Error`]: the expected form, and the text.

mod duration;

mod duration_range;

mod time_limit;

mod rate_limit;

mod byte_size;

mod ack_mode;

mod tracked_states;

mod field_paths;

mod error;

mod task_options;

pub use ack_mode::AckMode;
pub use byte_size::ByteSize;
pub use duration::{approximate_duration, format_duration, parse_duration};
pub use duration_range::DurationRange;
pub use error::Error;
pub use field_paths::FieldPaths;
pub use rate_limit::{RateLimit, RateUnit};
pub use task_options::{TASK_OPTIONS, TaskOption};
pub use time_limit::TimeLimit;
pub use tracked_states::TrackedStates;

/// The word for no limit and no end.
pub const NONE: &str = "none";
