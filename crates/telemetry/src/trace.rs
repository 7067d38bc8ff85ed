//! The spans of publishing and processing, and the task's name on every log line of its handler.
//!
//! Made with the OpenTelemetry API, after its messaging conventions. Where no traces are made, a span is one look at a
//! static and nothing more.

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

/// The tracer, if traces are made.
fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Returns true if a span with this parent may be kept. One that is not kept needs no name and no attributes.
fn may_be_kept(parent: &SpanContext) -> bool {
    parent.is_sampled() || !parent.is_valid()
}

/// From now on traces are made.
pub(crate) fn install(tracer: SdkTracer) -> Result<()> {
    TRACER.set(tracer).map_err(|_| Error::AlreadyStarted)
}

#[cfg(test)]
pub(crate) mod tests;
