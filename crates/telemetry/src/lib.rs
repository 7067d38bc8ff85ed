//! What Celeriac tells about a task's life: log lines, spans and metrics.
//!
//! In reading order:
//!
//! - [`events`]: the events of a program, each declared once: log line, span event and counter;
//! - [`trace`]: the spans of publishing and processing, and the task's name on every log line of its handler;
//! - [`propagation`]: trace context in and out of message headers;
//! - [`metrics`]: what is counted, and under which names;
//! - [`setup`]: subscriber and exporter, started once by a program and flushed at its end;
//! - [`clock`]: the only reader of wall time.

pub mod events;

pub mod trace;

pub mod propagation;

pub mod metrics;

pub mod setup;

pub mod clock;

mod error;
mod export;
mod nesting;
mod options;

pub use error::{Error, ErrorChain, Result};
pub use events::Event;
pub use options::{LogFormat, LogOptions, TelemetryOptions, TraceOptions};
pub use setup::{Instance, Telemetry};
pub use trace::{ProcessInfo, ProcessSpan, PublishSpan};
