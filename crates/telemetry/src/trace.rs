//! The spans of publishing and processing, and the task's fields on every log line of its handler.
//!
//! They use the OpenTelemetry API and its messaging conventions. If traces are not exported, a span
//! only reads a static.

mod attributes;
mod monitored;
mod process;
mod publish;
mod server;

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanContext};
use opentelemetry_sdk::trace::SdkTracer;

pub use process::{ProcessInfo, ProcessSpan};
pub use publish::{PublishInfo, PublishSpan};
pub use server::set_server;

use crate::error::{Error, Result};
use crate::options::TraceOptions;

/// Target of the `tracing` span that puts task, id and trace id on every line of a task.
pub(crate) const TASK_TARGET: &str = "celeriac::task";

/// The tracer of this process, and the shape of its traces.
#[derive(Debug)]
struct Tracing {
    tracer: SdkTracer,
    options: TraceOptions,
}

static TRACING: OnceLock<Tracing> = OnceLock::new();

/// Returns the tracer and its options, if traces are exported.
fn tracing() -> Option<&'static Tracing> {
    TRACING.get()
}

/// Returns `true` if a span with this parent may be sampled. Other spans need no name and no
/// attributes.
fn may_be_kept(parent: &SpanContext) -> bool {
    parent.is_sampled() || !parent.is_valid()
}

/// Returns a link with the reason for it.
fn link(to: SpanContext, reason: &'static str) -> Link {
    Link::new(to, vec![KeyValue::new(attributes::LINK_REASON, reason)], 0)
}

/// Makes this process export traces.
pub(crate) fn install(tracer: SdkTracer, options: TraceOptions) -> Result<()> {
    TRACING.set(Tracing { tracer, options }).map_err(|_| Error::AlreadyStarted)
}

#[cfg(test)]
pub(crate) mod tests;
