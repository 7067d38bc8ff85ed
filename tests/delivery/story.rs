//! One trace for one task: from the sender to the task's own spans, with the same id in its row and
//! its log lines.

use std::time::Duration;

use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_telemetry::{Instance, Telemetry, TelemetryOptions};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Authority, Bed, Collector, Program};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;

#[celeriac_tests::test(real)]
async fn publish_process_and_the_tasks_own_span_are_one_trace(bed: Bed) {
    let collector = Collector::start().await;
    let options = TelemetryOptions {
        service_name: "sender".to_owned(),
        otlp_endpoint: Some(collector.url()),
        ..Default::default()
    };
    let instance = Instance { name: "test".to_owned(), version: "0".to_owned() };
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    let variables = bed.environment_with(&[
        ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", collector.url()),
        ("CELERIAC__TELEMETRY__SERVICE_NAME", "runner".to_owned()),
        ("CELERIAC__TELEMETRY__LOG__FORMAT", "json".to_owned()),
    ]);
    let mut worker = Program::start(&["worker"], &variables);
    worker.says("ready").await;
    let client = bed.client(bed.program([])).await;
    let request = celeriac::DynamicCall {
        task: "test.story".to_owned(),
        body: Body { args: vec![Value::from("once")], ..Body::default() },
        options: CallOptions::default(),
    };
    let handle = client.submit_dynamic(request).await.unwrap();
    let row = handle.wait().await.unwrap();
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());
    telemetry.shutdown(Duration::from_secs(10)).await.unwrap();

    let spans = eventually("three spans", async || collector.spans(), |spans| spans.len() >= 3).await;
    let find = |name: &str| {
        spans.iter().find(|found| found.span.name.starts_with(name)).unwrap_or_else(|| panic!("{name}: {spans:?}"))
    };
    let (publish, process, own) = (find("publish"), find("process"), find("telling"));
    let trace = publish.trace_id();
    for found in [process, own] {
        assert_eq!(found.trace_id(), trace, "{}", found.span.name);
    }
    assert_eq!(process.span.parent_span_id, publish.span.span_id);
    assert_eq!(process.span.links[0].span_id, publish.span.span_id);
    assert_eq!(own.span.parent_span_id, process.span.span_id);
    let told: Vec<_> = process.span.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(told, ["received", "started", "succeeded", "recorded", "settled"]);
    assert_eq!((publish.service.as_str(), process.service.as_str()), ("sender", "runner"));
    assert_eq!(process.attribute("messaging.message.id").as_deref(), Some(handle.id()));

    let Some(Data::Sum(finished)) = collector.metric("celeriac.tasks.finished").unwrap().data else { panic!("a sum") };
    assert_eq!(finished.data_points[0].value, Some(number_data_point::Value::AsInt(1)), "{finished:?}");
    let Some(Data::Histogram(times)) = collector.metric("messaging.process.duration").unwrap().data else {
        panic!("a histogram")
    };
    assert_eq!(times.data_points[0].count, 1, "{times:?}");

    assert_eq!(row.trace_id.as_deref(), Some(trace.as_str()), "the row leads to the trace");
    let line = worker.rest().await.lines().find(|line| line.contains("inside the task")).map(str::to_owned).unwrap();
    assert!(line.contains(handle.id()) && line.contains(&trace), "{line}");
}

#[celeriac_tests::test(real)]
async fn a_collector_is_reached_over_tls(bed: Bed) {
    for protocol in ["http/protobuf", "grpc"] {
        for trust in ["SSL_CERT_FILE", "CELERIAC__TELEMETRY__OTLP_CACERTFILE"] {
            reached_over_tls(&bed, protocol, trust).await;
        }
    }
}

/// Asserts that a worker which trusts the authority by this variable exports, with a header.
async fn reached_over_tls(bed: &Bed, protocol: &str, trust: &str) {
    let authority = Authority::new();
    let collector = Collector::start_tls(&authority.sign("collector", &["localhost"])).await;
    let variables = bed.environment_with(&[
        ("CELERIAC__TELEMETRY__OTLP_ENDPOINT", collector.url()),
        ("CELERIAC__TELEMETRY__OTLP_PROTOCOL", protocol.to_owned()),
        ("CELERIAC__TELEMETRY__OTLP_HEADERS", "{api-key: sesame}".to_owned()),
        (trust, authority.certificate().display().to_string()),
    ]);
    let mut worker = Program::start(&["worker"], &variables);
    worker.says("ready").await;
    let client = bed.client(bed.program([])).await;
    let request = celeriac::DynamicCall {
        task: "test.story".to_owned(),
        body: Body { args: vec![Value::from("once")], ..Body::default() },
        options: CallOptions::default(),
    };
    client.submit_dynamic(request).await.unwrap().wait().await.unwrap();
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0, "{}", worker.output());

    assert!(collector.spans().iter().any(|found| found.span.name.starts_with("process")), "{}", worker.output());
    assert!(collector.metric("celeriac.tasks.finished").is_some(), "{}", worker.output());
    for headers in collector.headers() {
        assert_eq!(headers.get("api-key").and_then(|value| value.to_str().ok()), Some("sesame"), "{headers:?}");
    }
}
