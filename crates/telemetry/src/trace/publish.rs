//! The span of a message that is published.

use std::fmt;
use std::time::Duration;

use celeriac_protocol::HeaderMap;
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

use super::{Tracing, attributes, link, may_be_kept, tracing};
use crate::events::Event;
use crate::propagation;

/// The message of a span.
#[derive(Debug, Clone, Copy)]
pub struct PublishInfo<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// The exchange. Empty for the default exchange.
    pub exchange: &'a str,
    /// The routing key.
    pub routing_key: &'a str,
}

/// The span of a message that is published: `publish <destination>`.
///
/// A span that is dropped ends without a result.
#[derive(Debug)]
#[must_use = "a span tells how long something took, and ends with it"]
pub struct PublishSpan(Option<Box<Span>>);

/// The operation of a span, in the words of the messaging conventions.
#[derive(Debug, Clone)]
struct Operation {
    name: &'static str,
    kind: SpanKind,
    type_name: &'static str,
}

/// Publishes a message, whose consumer continues the trace from there.
const SEND: Operation = Operation { name: "publish", kind: SpanKind::Producer, type_name: "send" };
/// Makes a message that is published later.
const CREATE: Operation = Operation { name: "create", kind: SpanKind::Producer, type_name: "create" };
/// Publishes a message that was made before.
const SEND_CREATED: Operation = Operation { name: "publish", kind: SpanKind::Client, type_name: "send" };

impl PublishSpan {
    /// Starts the span of a task. It is a child of the caller's current span.
    pub fn start(info: &PublishInfo<'_>) -> Self {
        Self::below_current(SEND, info)
    }

    /// Starts the span of a task that is written to the outbox: `create <destination>`. It is a
    /// child of the caller's current span. The relay publishes the message later.
    pub fn create(info: &PublishInfo<'_>) -> Self {
        Self::below_current(CREATE, info)
    }

    /// Starts the span of a message of the outbox. It is a child of the span that made the message,
    /// and linked to it. The consumer of the message continues the trace from where it was made, or
    /// from here if no span made it.
    pub fn relay(headers: &mut HeaderMap, info: &PublishInfo<'_>) -> Self {
        Self(tracing().map(|tracing| {
            let Some(creator) = propagation::extract(headers) else {
                let span = start(tracing, &Context::new(), SEND, None, info);
                propagation::inject(span.span_context(), headers);
                return Box::new(span);
            };
            let parent = Context::new().with_remote_span_context(creator.clone());
            Box::new(start(tracing, &parent, SEND_CREATED, Some(Link::with_context(creator)), info))
        }))
    }

    /// Starts the span of a message that arrived with `headers` and is published again, as a part
    /// of their trace.
    pub fn again(headers: &HeaderMap, info: &PublishInfo<'_>) -> Self {
        Self(tracing().map(|tracing| {
            let parent = match propagation::extract(headers) {
                Some(publisher) => Context::new().with_remote_span_context(publisher),
                None => Context::new(),
            };
            Box::new(start(tracing, &parent, SEND, None, info))
        }))
    }

    /// Starts the span of a dead letter that is replayed. It begins a trace of its own, because the
    /// dead letter may be old, and is linked to the span that published the dead letter.
    pub fn replay(headers: &HeaderMap, info: &PublishInfo<'_>) -> Self {
        Self(tracing().map(|tracing| {
            let replayed = propagation::extract(headers).map(|letter| link(letter, "replayed-from"));
            Box::new(start(tracing, &Context::new(), SEND, replayed, info))
        }))
    }

    fn below_current(operation: Operation, info: &PublishInfo<'_>) -> Self {
        let span = |tracing| Context::map_current(|parent| start(tracing, parent, operation, None, info));
        Self(tracing().map(|tracing| Box::new(span(tracing))))
    }

    /// Returns the span with the time until the task is due, if it is not due at once.
    pub fn delayed(mut self, delay: Option<Duration>) -> Self {
        if let (Some(span), Some(delay)) = (&mut self.0, delay) {
            span.set_attribute(KeyValue::new(attributes::TASK_DELAY, delay.as_secs_f64()));
        }
        self
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

fn start(
    tracing: &Tracing,
    parent: &Context,
    operation: Operation,
    link: Option<Link>,
    info: &PublishInfo<'_>,
) -> Span {
    let Operation { name, kind, type_name } = operation;
    let mut builder = SpanBuilder::from_name(name).with_kind(kind);
    if may_be_kept(parent.span().span_context()) {
        let destination = attributes::destination(info.exchange, info.routing_key, None);
        builder.name = format!("{name} {destination}").into();
        let mut described = vec![
            KeyValue::new(attributes::SYSTEM, attributes::RABBITMQ),
            KeyValue::new(attributes::OPERATION_NAME, name),
            KeyValue::new(attributes::OPERATION_TYPE, type_name),
            KeyValue::new(attributes::DESTINATION, destination),
            KeyValue::new(attributes::ROUTING_KEY, info.routing_key.to_owned()),
            KeyValue::new(attributes::MESSAGE_ID, info.id.to_owned()),
            KeyValue::new(attributes::TASK_NAME, info.task.to_owned()),
        ];
        // A message that is only made has not met its broker.
        if name != CREATE.name {
            attributes::add_server(&mut described);
        }
        builder.attributes = Some(described);
        builder.links = link.map(|link| vec![link]);
    }
    tracing.tracer.build_with_context(builder, parent)
}
