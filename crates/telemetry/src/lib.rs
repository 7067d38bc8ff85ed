//! What Celeriac tells about a task's life: log lines, spans and metrics.
//!
//! In reading order:
//!
//! - [`occurrences`]: everything worth telling, one struct each, which writes its line, counts and marks its span;
//! - [`trace`]: the spans of publishing and processing, and the task's name on every log line of its handler;
//! - [`propagation`]: trace context in and out of message headers;
//! - [`metrics`]: what is counted, and under which names;
//! - [`setup`]: subscriber and exporter, started once by a program and flushed at its end;
//! - [`clock`]: the only reader of wall time.

pub mod occurrences;

pub mod trace;

pub mod propagation;

pub mod metrics;

pub mod setup;

pub mod clock;

mod error;
mod export;
mod nesting;
mod options;

pub use error::{Chain, Error, Result};
pub use occurrences::Occurrence;
pub use options::{LogFormat, LogOptions, TelemetryOptions, TraceOptions};
pub use setup::{Instance, Telemetry};
pub use trace::{ProcessInfo, ProcessSpan, PublishSpan};
