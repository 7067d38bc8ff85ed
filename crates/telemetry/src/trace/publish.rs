//! The span of a message that is published.

use std::fmt;

use celeriac_protocol::HeaderMap;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::{attributes, may_be_kept, tracer};
use crate::events::Event;
use crate::propagation;

/// The span of a message that is published: `publish <destination>`.
///
/// It is a child of the caller's current span. A span that is dropped ends without a result.
#[derive(Debug)]
#[must_use = "a span tells how long something took, and ends with it"]
pub struct PublishSpan(Option<Box<Span>>);

impl PublishSpan {
    /// Starts the span of a task.
    pub fn start(task: &str, id: &str, exchange: &str, routing_key: &str) -> Self {
        Self(tracer().map(|tracer| {
            Box::new(Context::map_current(|parent| start(tracer, parent, task, id, exchange, routing_key)))
        }))
    }

    /// Starts the span of a message that arrived with `headers` and is published again, as a part
    /// of their trace.
    pub fn again(headers: &HeaderMap, task: &str, id: &str, exchange: &str, routing_key: &str) -> Self {
        Self(tracer().map(|tracer| {
            let parent = match propagation::extract(headers) {
                Some(publisher) => Context::new().with_remote_span_context(publisher),
                None => Context::new(),
            };
            Box::new(start(tracer, &parent, task, id, exchange, routing_key))
        }))
    }

    /// Emits an event of the message, and adds it to the span.
    pub fn emit(&mut self, event: &impl Event) {
        event.emit();
        if let Some(span) = &mut self.0
            && span.is_recording()
        {
            event.add_to_span(&mut |name, attributes| span.add_event(name, attributes::to_key_values(attributes)));
        }
    }

    /// Writes the span to the headers of the message, so that its consumer continues the trace.
    ///
    /// Writes nothing if traces are not exported.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(span) = &self.0 {
            propagation::inject(span.span_context(), headers);
        }
    }

    /// Ends the span: the message is on a queue, or there was an error.
    pub fn end(self, sent: Result<(), &dyn fmt::Display>) {
        let Some(mut span) = self.0 else { return };
        if let Err(error) = sent
            && span.is_recording()
        {
            span.set_status(Status::error(error.to_string()));
            // The conventions' name for an error without further classification.
            span.set_attribute(KeyValue::new(attributes::ERROR_TYPE, "_OTHER"));
        }
        span.end();
    }
}

fn start(tracer: &SdkTracer, parent: &Context, task: &str, id: &str, exchange: &str, routing_key: &str) -> Span {
    let mut builder = SpanBuilder::from_name("publish").with_kind(SpanKind::Producer);
    if may_be_kept(parent.span().span_context()) {
        let destination = attributes::destination(exchange, routing_key, None);
        builder.name = format!("publish {destination}").into();
        builder.attributes = Some(vec![
            KeyValue::new(attributes::SYSTEM, attributes::RABBITMQ),
            KeyValue::new(attributes::OPERATION_NAME, "publish"),
            KeyValue::new(attributes::OPERATION_TYPE, "send"),
            KeyValue::new(attributes::DESTINATION, destination),
            KeyValue::new(attributes::ROUTING_KEY, routing_key.to_owned()),
            KeyValue::new(attributes::MESSAGE_ID, id.to_owned()),
            KeyValue::new(attributes::TASK_NAME, task.to_owned()),
        ]);
    }
    tracer.build_with_context(builder, parent)
}
