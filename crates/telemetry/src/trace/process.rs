//! The span of a message that a worker processes.

use std::sync::Arc;

use celeriac_protocol::{Failure, HeaderMap, TaskState};
use futures::future::Either;
use opentelemetry::trace::Span as _;
use opentelemetry::trace::{FutureExt as _, Link, SpanBuilder, SpanKind, SpanRef, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;

use super::{TASK_TARGET, attributes, may_be_kept, tracer};
use crate::events::Event;
use crate::propagation;

/// Properties of a message at the start of its span.
#[derive(Debug, Clone, Copy)]
pub struct ProcessInfo<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// The queue that delivered it.
    pub queue: &'a Arc<str>,
    /// The exchange that it was published to.
    pub exchange: &'a str,
    /// The routing key that it was published with.
    pub routing_key: &'a str,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// True if the broker delivered it before, to any consumer.
    pub redelivered: bool,
    /// The worker's name.
    pub worker: &'a Arc<str>,
}

/// The span of a message that a worker processes: `process <queue>`.
///
/// It is a child of the span that published the message, and linked to it. A span that is dropped
/// ends without a state.
#[derive(Debug)]
#[must_use = "a span tells how long something took, and ends with it"]
pub struct ProcessSpan {
    /// Adds task, id and trace id to log lines. It is not part of the trace.
    lines: tracing::Span,
    traced: Option<Traced>,
}

#[derive(Debug)]
struct Traced {
    context: Context,
    queue: Arc<str>,
}

impl ProcessSpan {
    /// Starts the span of a message.
    pub fn start(headers: &HeaderMap, info: &ProcessInfo<'_>) -> Self {
        match tracer() {
            Some(tracer) => Self::start_traced(tracer, headers, info),
            None => Self { lines: lines(info, None), traced: None },
        }
    }

    fn start_traced(tracer: &SdkTracer, headers: &HeaderMap, info: &ProcessInfo<'_>) -> Self {
        let context = start(tracer, headers, info);
        let trace_id = trace_id(&context);
        // `nesting` finds the context that is attached while the span is made.
        let attached = context.clone().attach();
        let lines = lines(info, trace_id.as_deref());
        drop(attached);
        Self { lines, traced: Some(Traced { context, queue: Arc::clone(info.queue) }) }
    }

    /// Returns the id of the trace, if traces are exported. A trace that is not sampled
    /// (`traces.sample_ratio`) has one too, for its log lines.
    pub fn trace_id(&self) -> Option<String> {
        self.traced.as_ref().and_then(|traced| trace_id(&traced.context))
    }

    /// Wraps the work of a task. Its spans become children of this span, and its log lines have
    /// task, id and trace id.
    ///
    /// This applies to the polls of the future, and to work that it spawns with `Span::current()`
    /// attached.
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let work = work.instrument(self.lines.clone());
        match &self.traced {
            Some(traced) => Either::Left(work.with_context(traced.context.clone())),
            None => Either::Right(work),
        }
    }

    /// Wraps the work of a blocking task, as [`ProcessSpan::run`] does.
    pub fn run_blocking<F: FnOnce() -> R, R>(&self, work: F) -> impl FnOnce() -> R + use<F, R> {
        let lines = self.lines.clone();
        let context = self.traced.as_ref().map(|traced| traced.context.clone());
        move || {
            let _attached = context.map(Context::attach);
            lines.in_scope(work)
        }
    }

    /// Emits an event of the task. Its log line has task, id and trace id, and the span has the
    /// event.
    pub fn emit<E: Event>(&self, event: &E) {
        // Entering the span of the log lines costs more than the rest of this function. At the
        // default level most events have no line.
        if E::LEVEL <= LevelFilter::current() {
            self.lines.in_scope(|| event.emit());
        } else {
            event.emit();
        }
        if let Some(span) = self.sampled() {
            event.add_to_span(&mut |name, attributes| span.add_event(name, attributes::to_key_values(attributes)));
        }
    }

    /// Records the settlement of the message: `ack`, `nack` or `reject`.
    ///
    /// The last two are spans of their own, `<settlement> <queue>`. Nearly every task ends with an
    /// acknowledgement, and a span for it would cost a third of the whole trace, so it is an event
    /// of this span.
    pub fn record_settlement(&self, settlement: &'static str) {
        let Some(span) = self.sampled() else { return };
        if settlement == "ack" {
            span.add_event(settlement, Vec::new());
        } else if let (Some(tracer), Some(traced)) = (tracer(), &self.traced) {
            settle(tracer, traced, settlement);
        }
    }

    /// Ends the span with the state of the attempt, and with its error if it failed.
    pub fn end(self, state: TaskState, failure: Option<&Failure>) {
        let Some(span) = self.sampled() else { return };
        span.set_attribute(KeyValue::new(attributes::TASK_STATE, state.as_str()));
        if let Some(failure) = failure {
            span.set_attribute(KeyValue::new(attributes::ERROR_TYPE, failure.kind.clone()));
            span.set_status(Status::error(failure.message.clone()));
        }
        span.end();
    }

    /// Returns the span, if it is sampled.
    fn sampled(&self) -> Option<SpanRef<'_>> {
        let span = self.traced.as_ref()?.context.span();
        span.span_context().is_sampled().then_some(span)
    }
}

fn start(tracer: &SdkTracer, headers: &HeaderMap, info: &ProcessInfo<'_>) -> Context {
    let publisher = propagation::extract(headers);
    // Not the current context, because the worker's own spans are not part of the task's trace.
    let parent = match &publisher {
        Some(publisher) => Context::new().with_remote_span_context(publisher.clone()),
        None => Context::new(),
    };
    let mut builder = SpanBuilder::from_name("process").with_kind(SpanKind::Consumer);
    if may_be_kept(parent.span().span_context()) {
        builder.name = format!("process {}", info.queue).into();
        builder.attributes = Some(describe(info));
        builder.links = publisher.map(|publisher| vec![Link::with_context(publisher)]);
    }
    Context::new().with_span(tracer.build_with_context(builder, &parent))
}

fn describe(info: &ProcessInfo<'_>) -> Vec<KeyValue> {
    // Capacity for the attributes that are added at the end of the span too.
    let mut described = Vec::with_capacity(13);
    described.extend([
        KeyValue::new(attributes::SYSTEM, attributes::RABBITMQ),
        KeyValue::new(attributes::OPERATION_NAME, "process"),
        KeyValue::new(attributes::OPERATION_TYPE, "process"),
        KeyValue::new(
            attributes::DESTINATION,
            attributes::destination(info.exchange, info.routing_key, Some(info.queue)),
        ),
        KeyValue::new(attributes::ROUTING_KEY, info.routing_key.to_owned()),
        KeyValue::new(attributes::MESSAGE_ID, info.id.to_owned()),
        KeyValue::new(attributes::TASK_NAME, info.task.to_owned()),
        KeyValue::new(attributes::TASK_ATTEMPT, i64::from(info.attempt)),
        KeyValue::new(attributes::QUEUE, Arc::clone(info.queue)),
        KeyValue::new(attributes::WORKER, Arc::clone(info.worker)),
    ]);
    if info.redelivered {
        described.push(KeyValue::new(attributes::TASK_REDELIVERED, true));
    }
    described
}

fn settle(tracer: &SdkTracer, traced: &Traced, settlement: &'static str) {
    let builder =
        SpanBuilder::from_name(format!("{settlement} {}", traced.queue)).with_kind(SpanKind::Client).with_attributes([
            KeyValue::new(attributes::SYSTEM, attributes::RABBITMQ),
            KeyValue::new(attributes::OPERATION_NAME, settlement),
            KeyValue::new(attributes::OPERATION_TYPE, "settle"),
            KeyValue::new(attributes::DESTINATION, Arc::clone(&traced.queue)),
        ]);
    tracer.build_with_context(builder, &traced.context).end();
}

fn trace_id(context: &Context) -> Option<String> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// Returns the span of the log lines. Its level is `ERROR`, so that it is enabled for every written
/// line.
fn lines(info: &ProcessInfo<'_>, trace_id: Option<&str>) -> tracing::Span {
    tracing::error_span!(target: TASK_TARGET, parent: None, "task", task = info.task, id = info.id, trace_id)
}
