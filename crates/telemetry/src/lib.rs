//! Log lines, spans and metrics of tasks.
//!
//! In reading order:
//!
//! - [`events`]: the events of a program, each declared once: log line, span event and counter;
//! - [`trace`]: the spans of publishing and processing, and the task's fields on every log line of
//!   its handler;
//! - `sampler`: the decision to keep a trace;
//! - [`monitors`]: the same events for Celery's monitors;
//! - [`propagation`]: trace context in message headers;
//! - `metrics`: counters and histograms, by OpenTelemetry's names;
//! - `export`: the export of traces and metrics to a collector, and the page of metrics;
//! - `otlp`: the collector of the options;
//! - [`health`]: the health of a process, and the server that shows it;
//! - `lines`: log lines, as text or as JSON; `levels`: their levels, which a signal changes;
//!   `kept`: those of an attempt, kept for its row;
//! - [`setup`]: subscriber and exporters, started once by a program and flushed at its end;
//! - `services`: the supervision of services, whose failures it logs;
//! - [`clock`]: the only reader of wall time.

pub mod events;

pub mod trace;

pub mod monitors;

pub mod propagation;

mod metrics;

pub mod health;

pub mod setup;

pub mod clock;

mod error;
mod export;
mod kept;
mod levels;
mod lines;
mod nesting;
mod options;
mod otlp;
mod sampler;
mod services;

pub use error::{Error, ErrorChain, Result};
pub use events::Event;
pub use health::{Gauge, GaugeReading};
pub use kept::KeptLog;
pub use levels::toggle_debug;
pub use metrics::are_counted;
pub use monitors::{MonitorField, MonitorValue, Monitors};
pub use options::{LogFormat, LogOptions, TelemetryOptions, TraceOptions, TraceRelation};
pub use otlp::OtlpProtocol;
pub use services::{ServiceFailure, Supervisor, panic_text};
pub use setup::{Instance, Telemetry};
pub use trace::{ProcessInfo, ProcessSpan, PublishInfo, PublishSpan};
