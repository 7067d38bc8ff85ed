//! Trace context in message headers, in the format of W3C Trace Context.
//!
//! Python's instrumentation of Celery reads and writes the same two headers.

use celeriac_protocol::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The header with trace id and span id.
pub const TRACEPARENT: &str = "traceparent";
/// The header with vendors' data.
pub const TRACESTATE: &str = "tracestate";

/// Writes a span to headers, in place of any other.
pub(crate) fn inject(span: &SpanContext, headers: &mut HeaderMap) {
    if !span.is_valid() {
        return;
    }
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    headers.insert(TRACEPARENT, format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()));
    let state = span.trace_state().header();
    if state.is_empty() {
        headers.remove(TRACESTATE);
    } else {
        headers.insert(TRACESTATE, state);
    }
}

/// Reads a span from headers. Returns `None` for an invalid one.
pub(crate) fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    headers.get(TRACEPARENT)?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.text(name)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Value;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        let mut headers: HeaderMap =
            [(TRACEPARENT, Value::from(PARENT)), (TRACESTATE, Value::from("vendor=1"))].into_iter().collect();
        let span = extract(&headers).unwrap();
        assert!(span.is_remote() && span.is_sampled());
        let mut written = HeaderMap::new();
        inject(&span, &mut written);
        assert_eq!(written, headers);

        headers.remove(TRACESTATE);
        inject(&extract(&headers).unwrap(), &mut written);
        assert_eq!(written, headers, "the state of an earlier trace is gone");
    }

    #[test]
    fn an_invalid_header_is_no_span() {
        let bad = [
            Value::Null,
            Value::Int(7),
            Value::from(""),
            Value::from("00-0-0-01"),
            Value::from("00-00000000000000000000000000000000-0000000000000000-01"),
            Value::from("00-ｆbf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Value::from("-".repeat(100_000)),
        ];
        for value in bad {
            let headers: HeaderMap = [(TRACEPARENT, value)].into_iter().collect();
            assert_eq!(extract(&headers), None, "{headers:?}");
        }
    }
}
