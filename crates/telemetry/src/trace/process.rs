//! The span of a message that a worker processes.

use std::sync::Arc;
use std::time::Duration;

use celeriac_config::ByteSize;
use celeriac_protocol::redact::RedactedValues;
use celeriac_protocol::{Failure, HeaderMap, TaskState};
use futures::future::Either;
use opentelemetry::trace::Span as _;
use opentelemetry::trace::{FutureExt as _, Link, SpanBuilder, SpanKind, SpanRef, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;

use super::monitored::MonitoredAttempt;
use super::{TASK_TARGET, Tracing, attributes, link, may_be_kept, tracing};
use crate::events::Event;
use crate::events::worker::task::MessageSettled;
use crate::kept::{KeptLog, LineBuffer};
use crate::monitors::Monitors;
use crate::options::{TraceOptions, TraceRelation};
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
    /// Time between its send and the time at which it is due, if both are known.
    pub delay: Option<Duration>,
    /// True if the broker delivered it before, to any consumer.
    pub redelivered: bool,
    /// The broker's number of the delivery.
    pub delivery_tag: u64,
    /// The worker's name.
    pub worker: &'a Arc<str>,
    /// Most bytes of its log lines to keep. `None` keeps none.
    pub kept_logs: Option<ByteSize>,
    /// Celery's monitors, if there may be any.
    pub monitors: Option<&'a Arc<dyn Monitors>>,
}

/// The span of a message that a worker processes: `process <destination>`.
///
/// It is a child of the span that published the message, and linked to it. If the message is due
/// long after its send, or if the options say so, the span begins a trace of its own, with the
/// link. The span of an attempt is also linked to that of the attempt before. A span that is
/// dropped ends without a state.
#[derive(Debug)]
#[must_use = "a span tells how long something took, and ends with it"]
pub struct ProcessSpan {
    /// Adds task, id and trace id to log lines. It is not part of the trace.
    lines: tracing::Span,
    /// The log lines that are kept.
    kept: Option<LineBuffer>,
    traced: Option<Traced>,
    monitored: Option<MonitoredAttempt>,
}

#[derive(Debug)]
struct Traced {
    context: Context,
    /// The conventions' name of the source of the message.
    source: String,
    delivery_tag: i64,
    ack_spans: bool,
}

impl ProcessSpan {
    /// Starts the span of a message.
    pub fn start(headers: &HeaderMap, info: &ProcessInfo<'_>) -> Self {
        match tracing() {
            Some(tracing) => Self::start_traced(tracing, headers, info),
            None => {
                let (lines, kept) = lines(info, None);
                Self { lines, kept, traced: None, monitored: MonitoredAttempt::new(info.monitors) }
            }
        }
    }

    pub(super) fn start_traced(tracing: &Tracing, headers: &HeaderMap, info: &ProcessInfo<'_>) -> Self {
        let (context, source) = start(tracing, headers, info);
        let trace_id = trace_id(&context);
        // `nesting` finds the context that is attached while the span is made.
        let attached = context.clone().attach();
        let (lines, kept) = lines(info, trace_id.as_deref());
        drop(attached);
        let (delivery_tag, ack_spans) = (tag(info), tracing.options.ack_spans);
        let traced = Some(Traced { context, source, delivery_tag, ack_spans });
        Self { lines, kept, traced, monitored: MonitoredAttempt::new(info.monitors) }
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

    /// Emits an event of the task. Its log line has task, id and trace id, the span has the event,
    /// and monitors are told.
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
        if let Some(monitored) = &self.monitored {
            monitored.emit(event);
        }
    }

    /// Replaces these values in the kept log lines of the task from now on.
    pub fn redact_kept_log(&self, values: &RedactedValues) {
        if let Some(kept) = &self.kept {
            kept.redact(values);
        }
    }

    /// Returns the log lines of the task so far, if they are kept and there are any. A program with
    /// a `tracing` subscriber of its own keeps none.
    pub fn kept_log(&self) -> Option<KeptLog> {
        self.kept.as_ref()?.log()
    }

    /// Records the settlement of the message: `ack`, `nack` or `reject`.
    ///
    /// The last two are spans of their own, `<settlement> <destination>`. Nearly every task ends
    /// with an acknowledgement, and a span for it would cost a third of the whole trace, so only
    /// the option `ack_spans` makes one.
    pub fn record_settlement(&self, task: &str, id: &str, settlement: &'static str) {
        self.emit(&MessageSettled { task, id, settlement });
        if let (Some(tracing), Some(traced), Some(_)) = (tracing(), &self.traced, self.sampled())
            && (settlement != "ack" || traced.ack_spans)
        {
            settle(tracing, traced, id, settlement);
        }
    }

    /// Writes this attempt to the headers of the next one, whose span will link to it.
    pub fn inject_attempt(&self, headers: &mut HeaderMap) {
        if let Some(traced) = &self.traced {
            propagation::inject_attempt(traced.context.span().span_context(), headers);
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

/// Starts the span. Returns it with the conventions' name of the source.
fn start(tracing: &Tracing, headers: &HeaderMap, info: &ProcessInfo<'_>) -> (Context, String) {
    let sender = propagation::extract(headers);
    // Not the current context, because the worker's own spans are not part of the task's trace.
    let parent = match &sender {
        // Nobody sees the spans of a trace that is not kept, and its id is that of the sender.
        Some(sender) if continues(&tracing.options, info) || !sender.is_sampled() => {
            Context::new().with_remote_span_context(sender.clone())
        }
        _ => Context::new(),
    };
    let mut builder = SpanBuilder::from_name("process").with_kind(SpanKind::Consumer);
    let mut source = String::new();
    if may_be_kept(parent.span().span_context()) {
        source = attributes::destination(info.exchange, info.routing_key, Some(info.queue));
        builder.name = format!("process {source}").into();
        builder.attributes = Some(describe(info, source.clone()));
        let before = propagation::extract_attempt(headers).map(|attempt| link(attempt, "retried-from"));
        let links: Vec<_> = sender.map(Link::with_context).into_iter().chain(before).collect();
        builder.links = Some(links).filter(|links| !links.is_empty());
    }
    (Context::new().with_span(tracing.tracer.build_with_context(builder, &parent)), source)
}

/// Returns `true` if the span belongs to the trace of the sender.
fn continues(options: &TraceOptions, info: &ProcessInfo<'_>) -> bool {
    options.relation == TraceRelation::Child && info.delay.is_none_or(|delay| delay <= options.link_after)
}

fn describe(info: &ProcessInfo<'_>, source: String) -> Vec<KeyValue> {
    // Capacity for the attributes that are added at the end of the span too.
    let mut described = Vec::with_capacity(17);
    described.extend([
        KeyValue::new(attributes::SYSTEM, attributes::RABBITMQ),
        KeyValue::new(attributes::OPERATION_NAME, "process"),
        KeyValue::new(attributes::OPERATION_TYPE, "process"),
        KeyValue::new(attributes::DESTINATION, source),
        KeyValue::new(attributes::ROUTING_KEY, info.routing_key.to_owned()),
        KeyValue::new(attributes::MESSAGE_ID, info.id.to_owned()),
        KeyValue::new(attributes::DELIVERY_TAG, tag(info)),
        KeyValue::new(attributes::TASK_NAME, info.task.to_owned()),
        KeyValue::new(attributes::TASK_ATTEMPT, i64::from(info.attempt)),
        KeyValue::new(attributes::QUEUE, Arc::clone(info.queue)),
        KeyValue::new(attributes::WORKER, Arc::clone(info.worker)),
    ]);
    attributes::add_server(&mut described);
    if info.redelivered {
        described.push(KeyValue::new(attributes::TASK_REDELIVERED, true));
    }
    if let Some(delay) = info.delay {
        described.push(KeyValue::new(attributes::TASK_DELAY, delay.as_secs_f64()));
    }
    described
}

/// Returns the number of the delivery, in the type of attributes.
fn tag(info: &ProcessInfo<'_>) -> i64 {
    i64::try_from(info.delivery_tag).unwrap_or(i64::MAX)
}

fn settle(tracing: &Tracing, traced: &Traced, id: &str, settlement: &'static str) {
    let source = &traced.source;
    let mut described = vec![
        KeyValue::new(attributes::SYSTEM, attributes::RABBITMQ),
        KeyValue::new(attributes::OPERATION_NAME, settlement),
        KeyValue::new(attributes::OPERATION_TYPE, "settle"),
        KeyValue::new(attributes::DESTINATION, source.clone()),
        KeyValue::new(attributes::MESSAGE_ID, id.to_owned()),
        KeyValue::new(attributes::DELIVERY_TAG, traced.delivery_tag),
    ];
    attributes::add_server(&mut described);
    let builder = SpanBuilder::from_name(format!("{settlement} {source}")).with_kind(SpanKind::Client);
    let builder = builder.with_attributes(described);
    tracing.tracer.build_with_context(builder, &traced.context).end();
}

fn trace_id(context: &Context) -> Option<String> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| span.trace_id().to_string())
}

/// Returns the span of the log lines, and the buffer that it carries. Its level is `ERROR`, so that
/// it is enabled for every written line.
fn lines(info: &ProcessInfo<'_>, trace_id: Option<&str>) -> (tracing::Span, Option<LineBuffer>) {
    let kept = info.kept_logs.map(LineBuffer::new);
    let make =
        || tracing::error_span!(target: TASK_TARGET, parent: None, "task", task = info.task, id = info.id, trace_id);
    let span = kept.as_ref().map_or_else(make, |buffer| buffer.carried_by(make));
    (span, kept)
}
