//! Tests that a task has one trace, from the caller's span to the handler's.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use celeriac_protocol::{Failure, HeaderMap, TaskHeaders, TaskState};
use opentelemetry::trace::{SpanId, SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::{Instrument, Span, info, info_span};

use super::*;
use crate::events::Event;
use crate::events::client::TaskSent;
use crate::events::worker::task::{TaskReceived, TaskRetried, TaskRevoked, TaskSucceeded};
use crate::options::{LogFormat, LogOptions, TraceOptions, TraceRelation};
use crate::propagation;
use crate::sampler::sampler;
use crate::setup::testing::{Captured, subscriber};

/// Returns the exporter of this process. All tests share the tracer, and find their spans by trace
/// id.
pub(crate) fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler(1.0)).with_simple_exporter(exporter.clone()).build();
        install(provider.tracer("celeriac"), TraceOptions::default()).unwrap();
        exporter
    })
}

struct Trace(Vec<SpanData>);

impl Trace {
    fn of(trace_id: &str) -> Self {
        let spans = exporter().get_finished_spans().unwrap();
        Self(spans.into_iter().filter(|span| span.span_context.trace_id().to_string() == trace_id).collect())
    }

    fn span(&self, name: &str) -> &SpanData {
        let names: Vec<_> = self.0.iter().map(|span| &span.name).collect();
        self.0.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span `{name}` among {names:?}"))
    }

    fn id(&self, name: &str) -> SpanId {
        self.span(name).span_context.span_id()
    }

    fn parent(&self, name: &str) -> SpanId {
        self.span(name).parent_span_id
    }
}

fn attribute(span: &SpanData, name: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.unwrap_or_else(|| panic!("no attribute {name} on {span:?}")).value.to_string()
}

struct Names {
    queue: Arc<str>,
    worker: Arc<str>,
}

impl Names {
    fn new() -> Self {
        Self { queue: "billing".into(), worker: "worker-1".into() }
    }

    fn info<'a>(&'a self, id: &'a str, attempt: u32) -> ProcessInfo<'a> {
        ProcessInfo {
            task: "orders.charge",
            id,
            queue: &self.queue,
            exchange: "orders",
            routing_key: "billing.charge",
            attempt,
            delay: None,
            redelivered: false,
            delivery_tag: 1,
            worker: &self.worker,
            kept_logs: None,
            monitors: None,
        }
    }
}

/// Runs `work` on a runtime of one thread, under a subscriber that also makes spans. Returns the
/// log lines.
fn under_subscriber<F: Future>(options: &LogOptions, work: F) -> (F::Output, String) {
    exporter();
    let captured = Captured::default();
    let dispatch = subscriber(options, captured.clone(), tracing().map(|tracing| tracing.tracer.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let output = tracing::dispatcher::with_default(&dispatch, || runtime.block_on(work));
    (output, captured.text())
}

fn published(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let publish = PublishSpan::start(&PublishInfo {
        task: "orders.charge",
        id,
        exchange: "orders",
        routing_key: "billing.charge",
    });
    publish.inject(&mut headers);
    publish.end(Ok(()));
    headers
}

#[test]
fn a_task_is_one_trace_from_its_caller_to_its_handlers_spans() {
    let names = Names::new();
    let (trace_id, _) = under_subscriber(&LogOptions::default(), async {
        let headers = info_span!("caller").in_scope(|| published("one-trace"));
        let process = ProcessSpan::start(&headers, &names.info("one-trace", 1));
        let handler = async || {
            tokio::task::yield_now().await;
            PublishSpan::start(&PublishInfo { task: "mail.send", id: "sub-task", exchange: "", routing_key: "mail" })
                .end(Ok(()));
            let mut spawned = tokio::task::JoinSet::new();
            spawned.spawn(async { info_span!("spawned").in_scope(|| ()) }.instrument(Span::current()));
            spawned.join_all().await;
        };
        process.run(async { handler().instrument(info_span!("handler")).await }).await;
        let mut outside = tokio::task::JoinSet::new();
        let spawn = async { outside.spawn(async { info_span!("aside").in_scope(|| ()) }.instrument(Span::current())) };
        process.run(spawn).await;
        outside.join_all().await;
        process.record_settlement("orders.charge", "1", "reject");
        let trace_id = process.trace_id().unwrap();
        process.end(TaskState::Success, None);
        trace_id
    });

    let trace = Trace::of(&trace_id);
    assert_eq!(trace.parent("caller"), SpanId::INVALID);
    assert_eq!(trace.parent("publish orders:billing.charge"), trace.id("caller"));
    assert_eq!(trace.parent("process orders:billing.charge:billing"), trace.id("publish orders:billing.charge"));
    assert_eq!(trace.parent("handler"), trace.id("process orders:billing.charge:billing"));
    assert_eq!(trace.parent("publish mail"), trace.id("handler"));
    assert_eq!(trace.parent("spawned"), trace.id("handler"));
    assert_eq!(
        trace.parent("aside"),
        trace.id("process orders:billing.charge:billing"),
        "work that outlives the handler's own future"
    );
    assert_eq!(trace.parent("reject orders:billing.charge:billing"), trace.id("process orders:billing.charge:billing"));
    assert_eq!(trace.0.len(), 8, "the span of the log lines is none of the trace's");
    assert!(trace.span("process orders:billing.charge:billing").parent_span_is_remote);
}

#[test]
fn spans_say_what_the_messaging_conventions_ask_for() {
    exporter();
    let names = Names::new();
    let headers = published("conventions");
    let process = ProcessSpan::start(&headers, &names.info("conventions", 2));
    let trace_id = process.trace_id().unwrap();
    process.record_settlement("orders.charge", "1", "nack");
    process.end(TaskState::Success, None);

    let trace = Trace::of(&trace_id);
    let publish = trace.span("publish orders:billing.charge");
    assert_eq!(publish.span_kind, SpanKind::Producer);
    let process = trace.span("process orders:billing.charge:billing");
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert_eq!(process.links.len(), 1);
    assert_eq!(process.links.iter().next().unwrap().span_context.span_id(), publish.span_context.span_id());
    for (span, expected) in [
        (publish, [("messaging.operation.type", "send"), ("messaging.destination.name", "orders:billing.charge")]),
        (
            process,
            [("messaging.operation.type", "process"), ("messaging.destination.name", "orders:billing.charge:billing")],
        ),
        (process, [("celeriac.task.attempt", "2"), ("celeriac.task.state", "SUCCESS")]),
        (process, [("celeriac.worker", "worker-1"), ("celeriac.queue", "billing")]),
        (
            trace.span("nack orders:billing.charge:billing"),
            [("messaging.operation.type", "settle"), ("messaging.operation.name", "nack")],
        ),
    ] {
        for (name, value) in expected {
            assert_eq!(attribute(span, name), value, "{name}");
        }
        assert_eq!(attribute(span, "messaging.system"), "rabbitmq");
    }
    for span in [publish, process] {
        assert_eq!(attribute(span, "messaging.message.id"), "conventions");
        assert_eq!(attribute(span, "celeriac.task.name"), "orders.charge");
    }
}

#[test]
fn attempts_share_a_trace_and_show_what_happened() {
    exporter();
    let names = Names::new();
    let mut headers = published("attempts");
    let first = ProcessSpan::start(&headers, &names.info("attempts", 1));
    let (task, id) = ("orders.charge", "attempts");
    let task_headers = TaskHeaders::default();
    first.emit(&TaskReceived {
        task,
        id,
        queue: "billing",
        redelivered: false,
        headers: &task_headers,
        arguments: None,
    });
    let retry_in = Duration::from_secs(2);
    let failure = &Failure::new("Declined", "no");
    first.emit(&TaskRetried { task, id, attempt: 1, failure, retry_in });
    first.emit(&TaskRevoked { task, id });
    first.record_settlement("orders.charge", "1", "ack");
    let again = first.run_blocking(|| {
        PublishSpan::start(&PublishInfo { task: "orders.charge", id: "attempts", exchange: "", routing_key: "billing" })
    })();
    again.inject(&mut headers);
    again.end(Err(&"unroutable"));
    first.end(TaskState::Retry, Some(&Failure::new("PaymentDeclined", "declined")));
    let second = ProcessSpan::start(&headers, &names.info("attempts", 2));
    let trace_id = second.trace_id().unwrap();
    second.end(TaskState::Success, None);

    let trace = Trace::of(&trace_id);
    let attempt = |number| {
        trace.0.iter().find(|span| {
            span.name == "process orders:billing.charge:billing" && attribute(span, "celeriac.task.attempt") == number
        })
    };
    let (first, second) = (attempt("1").unwrap(), attempt("2").unwrap());
    let events: Vec<_> = first.events.iter().map(|event| event.name.as_ref()).collect();
    assert_eq!(events, ["received", "retried", "revoked", "settled"]);
    assert_eq!(first.status, Status::error("declined"));
    assert_eq!(attribute(first, "error.type"), "PaymentDeclined");
    assert_eq!(trace.parent("publish billing"), first.span_context.span_id());
    assert_eq!(trace.span("publish billing").status, Status::error("unroutable"));
    assert_eq!(second.parent_span_id, trace.id("publish billing"));
}

/// Starts the span of a delivery in a process with these options.
fn start_with(options: TraceOptions, headers: &HeaderMap, info: &ProcessInfo<'_>) -> ProcessSpan {
    exporter();
    let tracer = tracing().unwrap().tracer.clone();
    ProcessSpan::start_traced(&Tracing { tracer, options }, headers, info)
}

/// Returns the span of a delivery that has ended, and the ids of its links.
fn ended(process: ProcessSpan) -> (SpanData, Vec<SpanId>) {
    let trace_id = process.trace_id().unwrap();
    process.end(TaskState::Success, None);
    let span = Trace::of(&trace_id).span("process orders:billing.charge:billing").clone();
    let links = span.links.iter().map(|link| link.span_context.span_id()).collect();
    (span, links)
}

#[test]
fn a_task_that_is_due_long_after_its_send_has_a_trace_of_its_own_with_a_link() {
    exporter();
    let (names, hour) = (Names::new(), Duration::from_secs(3_600));
    let link = TraceOptions { relation: TraceRelation::Link, ..TraceOptions::default() };
    let cases = [
        (TraceOptions::default(), None, true),
        (TraceOptions::default(), Some(hour), true),
        (TraceOptions::default(), Some(hour + Duration::from_secs(1)), false),
        (link.clone(), None, false),
        (link, Some(hour), false),
    ];
    for (options, delay, continues) in cases {
        let headers = published("late");
        let sender = propagation::extract(&headers).unwrap();
        let info = ProcessInfo { delay, ..names.info("late", 1) };
        let (span, links) = ended(start_with(options.clone(), &headers, &info));
        let parent = if continues { sender.span_id() } else { SpanId::INVALID };
        assert_eq!(span.parent_span_id, parent, "{options:?} {delay:?}");
        assert_eq!(span.span_context.trace_id() == sender.trace_id(), continues, "{options:?} {delay:?}");
        assert_eq!(links, [sender.span_id()], "{options:?} {delay:?}");
    }
}

#[test]
fn the_span_of_an_attempt_links_to_the_attempt_before() {
    exporter();
    let names = Names::new();
    let mut headers = published("linked");
    let first = ProcessSpan::start(&headers, &names.info("linked", 1));
    first.inject_attempt(&mut headers);
    let (first, _) = ended(first);
    let sender = propagation::extract(&headers).unwrap();
    let again = ProcessSpan::start(&headers, &names.info("linked", 2));
    let trace_id = again.trace_id().unwrap();
    again.end(TaskState::Success, None);
    let trace = Trace::of(&trace_id);
    let second = trace.0.iter().find(|span| span.links.len() == 2).unwrap();
    let links: Vec<_> = second.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(links, [sender.span_id(), first.span_context.span_id()]);
    assert_eq!(second.links[1].attributes, [KeyValue::new("celeriac.link.reason", "retried-from")]);
}

#[test]
fn an_acknowledgement_is_a_span_by_choice() {
    for ack_spans in [false, true] {
        let names = Names::new();
        let options = TraceOptions { ack_spans, ..TraceOptions::default() };
        let process = start_with(options, &published("acked"), &names.info("acked", 1));
        process.record_settlement("orders.charge", "acked", "ack");
        let trace_id = process.trace_id().unwrap();
        process.end(TaskState::Success, None);
        let is_ack = |span: &SpanData| span.name == "ack orders:billing.charge:billing";
        assert_eq!(Trace::of(&trace_id).0.iter().any(is_ack), ack_spans);
    }
}

#[test]
fn a_replay_begins_a_trace_that_links_to_the_dead_letter() {
    exporter();
    let mut headers = published("dead");
    let letter = propagation::extract(&headers).unwrap();
    let info = PublishInfo { task: "orders.charge", id: "dead", exchange: "", routing_key: "billing" };
    let replay = PublishSpan::replay(&headers, &info);
    replay.inject(&mut headers);
    replay.end(Ok(()));
    let written = propagation::extract(&headers).unwrap();
    let trace = Trace::of(&written.trace_id().to_string());
    let span = trace.span("publish billing");
    assert_ne!(span.span_context.trace_id(), letter.trace_id());
    assert_eq!((span.span_context.span_id(), span.parent_span_id), (written.span_id(), SpanId::INVALID));
    assert_eq!(span.links[0].span_context.span_id(), letter.span_id());
}

#[test]
fn the_relay_links_to_the_span_that_made_the_message_and_leaves_it_in_the_message() {
    exporter();
    let info = PublishInfo { task: "mail.send", id: "relayed", exchange: "", routing_key: "mail" };
    let mut headers = HeaderMap::new();
    let create = PublishSpan::create(&info);
    create.inject(&mut headers);
    create.end(Ok(()));
    let stored = headers.clone();
    PublishSpan::relay(&mut headers, &info).end(Ok(()));
    assert_eq!(headers, stored);
    let creator = propagation::extract(&headers).unwrap();
    let trace = Trace::of(&creator.trace_id().to_string());
    let relayed = trace.span("publish mail");
    assert_eq!((relayed.parent_span_id, relayed.span_kind.clone()), (creator.span_id(), SpanKind::Client));
    assert_eq!(relayed.links[0].span_context.span_id(), creator.span_id());
    assert_eq!(trace.span("create mail").span_kind, SpanKind::Producer);

    let mut without = HeaderMap::new();
    PublishSpan::relay(&mut without, &info).end(Ok(()));
    let begun = propagation::extract(&without).unwrap();
    assert_eq!(Trace::of(&begun.trace_id().to_string()).span("publish mail").span_kind, SpanKind::Producer);
}

#[test]
fn a_trace_that_its_sender_does_not_keep_is_not_kept_here() {
    exporter();
    let names = Names::new();
    let (trace_id, parent) =
        ("0af7651916cd43dd8448eb211c80319c", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", parent);
    let process = ProcessSpan::start(&headers, &names.info("unkept", 1));
    process.emit(&TaskSucceeded { task: "t", id: "unkept", result: "null", runtime: Duration::ZERO });
    process.record_settlement("t", "unkept", "ack");
    assert_eq!(process.trace_id().as_deref(), Some(trace_id));
    let mut sent = HeaderMap::new();
    process.run_blocking(|| {
        PublishSpan::start(&PublishInfo { task: "t", id: "next", exchange: "", routing_key: "q" }).inject(&mut sent)
    })();
    process.end(TaskState::Success, None);

    let sent = sent.text("traceparent").unwrap();
    assert!(sent.starts_with(&format!("00-{trace_id}-")) && sent.ends_with("-00"), "{sent}");
    assert_eq!(Trace::of(trace_id).0, []);
}

#[test]
fn a_handler_on_a_thread_is_in_the_trace_and_in_the_log() {
    exporter();
    let names = Names::new();
    let captured = Captured::default();
    let dispatch =
        subscriber(&LogOptions::default(), captured.clone(), tracing().map(|tracing| tracing.tracer.clone()));
    let process = tracing::dispatcher::with_default(&dispatch, || {
        ProcessSpan::start(&published("threaded"), &names.info("threaded", 1))
    });
    let work = process.run_blocking(|| info_span!("threaded").in_scope(|| info!("working")));
    std::thread::spawn(move || tracing::dispatcher::with_default(&dispatch, work)).join().unwrap();
    let trace_id = process.trace_id().unwrap();
    process.end(TaskState::Success, None);

    let trace = Trace::of(&trace_id);
    assert_eq!(trace.parent("threaded"), trace.id("process orders:billing.charge:billing"));
    let lines = captured.text();
    assert!(lines.contains("working") && lines.contains(&trace_id), "{lines}");
}

fn options(level: &str, format: LogFormat) -> LogOptions {
    LogOptions { level: level.to_owned(), format }
}

fn handler_lines(options: &LogOptions, id: &str) -> (String, Vec<String>) {
    let names = Names::new();
    let (trace_id, lines) = under_subscriber(options, async {
        let process = ProcessSpan::start(&published(id), &names.info(id, 1));
        let handler = async {
            tracing::warn!(target: "my_app", "low stock");
            info_span!(target: "my_app", "inner", item = 7)
                .in_scope(|| tracing::error!(target: "my_app", "out of stock"));
        };
        process.run(handler).await;
        let runtime = Duration::from_millis(12);
        process.emit(&TaskSucceeded { task: "orders.charge", id, result: "null", runtime });
        let trace_id = process.trace_id().unwrap();
        process.end(TaskState::Success, None);
        trace_id
    });
    (trace_id, lines.lines().map(str::to_owned).collect())
}

#[test]
fn every_line_of_a_task_names_it_and_its_trace() {
    let cases = [("debug", 3), ("info", 2), ("celeriac::worker=debug", 1), ("my_app=error", 1), ("off", 0)];
    for (level, expected) in cases {
        for format in [LogFormat::Text, LogFormat::Json] {
            let id = format!("lines-{level}-{format:?}");
            let (trace_id, lines) = handler_lines(&options(level, format), &id);
            assert_eq!(lines.len(), expected, "{lines:?}");
            for line in &lines {
                assert!(line.contains(&id) && line.contains(&trace_id) && line.contains("orders.charge"), "{line}");
            }
        }
    }
}

#[test]
fn a_line_for_people_is_a_phrase_and_fields() {
    let (_, lines) = handler_lines(&options("debug", LogFormat::Text), "people");
    let line = lines.last().unwrap();
    assert!(
        line.contains("DEBUG celeriac::worker: task succeeded task=orders.charge id=people runtime=12ms"),
        "{line}"
    );
}

#[test]
fn a_line_for_machines_is_one_object() {
    let (trace_id, lines) = handler_lines(&options("debug", LogFormat::Json), "machines");
    let lines: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!((&line["id"], &line["trace_id"]), (&"machines".into(), &trace_id.clone().into()));
        assert_eq!(line["task"], "orders.charge");
        assert!(line["message"].is_string() && line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert_eq!(lines[1]["spans"], serde_json::json!([{"name": "inner", "item": 7}]));
    assert_eq!((&lines[2]["message"], &lines[2]["runtime_seconds"]), (&"task succeeded".into(), &0.012.into()));
    assert!(lines[2].get("spans").is_none(), "{:?}", lines[2]);
}

#[test]
fn a_line_names_its_task_once() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (trace_id, lines) = handler_lines(&options("debug", format), "only-once");
        for line in lines {
            for part in ["orders.charge", "only-once", &trace_id] {
                assert_eq!(line.matches(part).count(), 1, "{part}: {line}");
            }
        }
    }
}

#[test]
fn a_line_of_another_task_names_the_task_it_stands_in_as_its_parent() {
    let names = Names::new();
    let ((), lines) = under_subscriber(&options("debug", LogFormat::Text), async {
        let process = ProcessSpan::start(&published("outer"), &names.info("outer", 1));
        let handler = async { TaskSent { task: "mail.send", id: "inner", exchange: "", routing_key: "mail" }.emit() };
        process.run(handler).await;
        process.end(TaskState::Success, None);
    });
    let expected = "task sent task=mail.send id=inner exchange=\"\" routing_key=mail \
                    parent_task=orders.charge parent_id=outer trace_id=";
    assert!(lines.contains(expected), "{lines}");
}

#[test]
fn levels_name_areas_of_celeriac() {
    let cases =
        [("warn", 0), ("warn,celeriac::worker=debug", 1), ("warn,celeriac=debug", 2), ("celeriac::client=debug", 1)];
    for (level, expected) in cases {
        let ((), lines) = under_subscriber(&options(level, LogFormat::Text), async {
            let process = ProcessSpan::start(&HeaderMap::new(), &Names::new().info("areas", 1));
            process.emit(&TaskRevoked { task: "orders.charge", id: "areas" });
            TaskSent { task: "mail.send", id: "areas", exchange: "", routing_key: "mail" }.emit();
            process.end(TaskState::Revoked, None);
        });
        assert_eq!(lines.lines().count(), expected, "{level}: {lines}");
    }
}
