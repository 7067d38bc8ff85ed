//! Without a collector there are no traces, and no trace headers.

use std::sync::Arc;

use celeriac_protocol::{HeaderMap, TaskState};
use celeriac_telemetry::events::worker::task::TaskStarted;
use celeriac_telemetry::{Instance, ProcessInfo, ProcessSpan, PublishInfo, PublishSpan, Telemetry, TelemetryOptions};

const INCOMING: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn work_through_a_task() {
    let mut headers = HeaderMap::new();
    let publish = PublishSpan::start(&PublishInfo { task: "t", id: "1", exchange: "", routing_key: "q" });
    publish.inject(&mut headers);
    publish.end(Ok(()));
    assert!(headers.is_empty(), "{headers:?}");

    headers.insert("traceparent", INCOMING);
    let (queue, worker): (Arc<str>, Arc<str>) = ("q".into(), "w".into());
    let info = ProcessInfo {
        task: "t",
        id: "1",
        queue: &queue,
        exchange: "",
        routing_key: "q",
        attempt: 1,
        delay: None,
        redelivered: false,
        delivery_tag: 1,
        worker: &worker,
        kept_logs: None,
        monitors: None,
    };
    let process = ProcessSpan::start(&headers, &info);
    assert_eq!(process.trace_id(), None);
    process.emit(&TaskStarted { task: "t", id: "1", queue: "q", attempt: 1, wait: None, arguments: None });
    assert_eq!(process.run_blocking(|| 7)(), 7);
    // A retry keeps its headers, and with them the trace of others.
    PublishSpan::start(&PublishInfo { task: "t", id: "1", exchange: "", routing_key: "q" }).inject(&mut headers);
    assert_eq!(headers.text("traceparent"), Some(INCOMING));
    process.record_settlement("t", "1", "ack");
    process.end(TaskState::Success, None);
}

#[tokio::test]
async fn nothing_is_written_into_headers_and_no_task_has_a_trace() {
    work_through_a_task();
    let instance = Instance { name: "w".to_owned(), version: "1".to_owned() };
    let telemetry = Telemetry::start(&TelemetryOptions::default(), &instance).unwrap();
    work_through_a_task();
    assert!(telemetry.writes_logs());
    telemetry.shutdown(std::time::Duration::ZERO).await.unwrap();
}
