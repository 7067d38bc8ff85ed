//! Log lines, spans and metrics of tasks.
//!
//! In reading order:
//!
//! - [`events`]: the events of a program, each declared once: log line, span event and counter;
//! - [`trace`]: the spans of publishing and processing, and the task's fields on every log line of
//!   its handler;
//! - [`propagation`]: trace context in message headers;
//! - `metrics`: counters and histograms, by OpenTelemetry's names;
//! - `export`: the export of traces and metrics to a collector;
//! - `lines`: log lines, as text or as JSON;
//! - [`setup`]: subscriber and exporters, started once by a program and flushed at its end;
//! - `services`: the supervision of services, whose failures it logs;
//! - [`clock`]: the only reader of wall time.

pub mod events;

pub mod trace;

pub mod propagation;

mod metrics;

pub mod setup;

pub mod clock;

mod error;
mod export;
mod lines;
mod nesting;
mod options;
mod services;

pub use error::{Error, ErrorChain, Result};
pub use events::Event;
pub use options::{LogFormat, LogOptions, TelemetryOptions, TraceOptions};
pub use services::{ServiceFailure, Supervisor, panic_text};
pub use setup::{Instance, Telemetry};
pub use trace::{ProcessInfo, ProcessSpan, PublishSpan};
