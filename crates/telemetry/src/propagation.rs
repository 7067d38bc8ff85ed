//! Trace context in message headers, in the format of W3C Trace Context.
//!
//! Python's instrumentation of Celery reads and writes the same two headers.

use celeriac_protocol::HeaderMap;
use celeriac_protocol::headers::names::RETRIED_FROM;
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
    headers.insert(TRACEPARENT, traceparent(span));
    let state = span.trace_state().header();
    if state.is_empty() {
        headers.remove(TRACESTATE);
    } else {
        headers.insert(TRACESTATE, state);
    }
}

/// Writes the span of an attempt to the headers of the next one.
pub(crate) fn inject_attempt(span: &SpanContext, headers: &mut HeaderMap) {
    if span.is_valid() {
        headers.insert(RETRIED_FROM, traceparent(span));
    }
}

fn traceparent(span: &SpanContext) -> String {
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id())
}

/// Reads the span of the sender from headers. Returns `None` for an invalid one.
pub(crate) fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    read(headers, TRACEPARENT)
}

/// Reads the span of the attempt before from headers.
pub(crate) fn extract_attempt(headers: &HeaderMap) -> Option<SpanContext> {
    read(headers, RETRIED_FROM)
}

fn read(headers: &HeaderMap, parent: &'static str) -> Option<SpanContext> {
    headers.get(parent)?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers { headers, parent });
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

struct Headers<'a> {
    headers: &'a HeaderMap,
    /// The header that is read as `traceparent`.
    parent: &'static str,
}

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            TRACEPARENT => self.headers.text(self.parent),
            TRACESTATE if self.parent != TRACEPARENT => None,
            name => self.headers.text(name),
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.headers.iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Value;
    use opentelemetry::trace::{SpanId, TraceId, TraceState};

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
    fn an_attempt_is_written_beside_the_sender_and_read_without_its_state() {
        let mut headers: HeaderMap =
            [(TRACEPARENT, Value::from(PARENT)), (TRACESTATE, Value::from("vendor=1"))].into_iter().collect();
        assert_eq!(extract_attempt(&headers), None);
        let attempt = SpanContext::new(
            TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap(),
            SpanId::from_hex("b7ad6b7169203331").unwrap(),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        inject_attempt(&attempt, &mut headers);
        assert_eq!(extract_attempt(&headers), Some(attempt));
        assert_eq!(extract(&headers).unwrap().span_id().to_string(), "00f067aa0ba902b7");
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
