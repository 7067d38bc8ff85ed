//! The spans of publishing and processing, and the task's fields on every log line of its handler.
//!
//! They use the OpenTelemetry API and its messaging conventions. If traces are not exported, a span
//! only reads a static.

mod attributes;
mod process;
mod publish;

use std::sync::OnceLock;

use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::trace::SdkTracer;

pub use process::{ProcessInfo, ProcessSpan};
pub use publish::PublishSpan;

use crate::error::{Error, Result};

/// Target of the `tracing` span that puts task, id and trace id on every line of a task.
pub(crate) const TASK_TARGET: &str = "celeriac::task";

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Returns the tracer, if traces are exported.
fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Returns `true` if a span with this parent may be sampled. Other spans need no name and no
/// attributes.
fn may_be_kept(parent: &SpanContext) -> bool {
    parent.is_sampled() || !parent.is_valid()
}

/// Makes this process export traces.
pub(crate) fn install(tracer: SdkTracer) -> Result<()> {
    TRACER.set(tracer).map_err(|_| Error::AlreadyStarted)
}

#[cfg(test)]
pub(crate) mod tests;
