//! The span of a message on its way to a queue.

use std::fmt;

use celeriac_protocol::HeaderMap;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::{attributes, may_be_kept, tracer};
use crate::events::Event;
use crate::propagation;

/// The span of a message on its way to a queue: `publish <destination>`.
///
/// A child of whatever span the caller is in. One that is dropped unended ends without saying how.
#[derive(Debug)]
#[must_use = "a span tells how long something took, and ends with it"]
pub struct PublishSpan(Option<Box<Span>>);

impl PublishSpan {
    /// Begins to publish a task.
    pub fn start(task: &str, id: &str, exchange: &str, routing_key: &str) -> Self {
        Self(tracer().map(|tracer| {
            Box::new(Context::map_current(|parent| start(tracer, parent, task, id, exchange, routing_key)))
        }))
    }

    /// Begins to publish a message once more, with which `headers` arrived: a part of the trace that they tell of.
    pub fn again(headers: &HeaderMap, task: &str, id: &str, exchange: &str, routing_key: &str) -> Self {
        Self(tracer().map(|tracer| {
            let parent = match propagation::extract(headers) {
                Some(publisher) => Context::new().with_remote_span_context(publisher),
                None => Context::new(),
            };
            Box::new(start(tracer, &parent, task, id, exchange, routing_key))
        }))
    }

    /// Emits an event of the message, and shows it on the span.
    pub fn emit(&mut self, event: &impl Event) {
        event.emit();
        if let Some(span) = &mut self.0
            && span.is_recording()
        {
            event.add_to_span(&mut |name, attributes| span.add_event(name, attributes::to_key_values(attributes)));
        }
    }

    /// Writes the span into the headers of the message, so that whoever takes it continues the trace.
    ///
    /// Writes nothing where no traces are made.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(span) = &self.0 {
            propagation::inject(span.span_context(), headers);
        }
    }

    /// Ends the span: the message stands on a queue, or does not because of an error.
    pub fn end(self, sent: Result<(), &dyn fmt::Display>) {
        let Some(mut span) = self.0 else { return };
        if let Err(error) = sent
            && span.is_recording()
        {
            span.set_status(Status::error(error.to_string()));
            // The conventions' name for what is not told apart any further.
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
