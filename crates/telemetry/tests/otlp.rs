//! Traces and metrics arrive at a collector, also when program and collector share one thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{HeaderMap, TaskState};
use celeriac_telemetry::events::worker::task::TaskSucceeded;
use celeriac_telemetry::{
    Error, Instance, ProcessInfo, ProcessSpan, PublishInfo, PublishSpan, Telemetry, TelemetryOptions,
};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Histogram, Metric, Sum, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A request at a collector.
enum Request {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

impl Request {
    fn decode(path: &str, body: &[u8]) -> io::Result<Self> {
        match path {
            "/v1/traces" => ExportTraceServiceRequest::decode(body).map(Self::Traces).map_err(io::Error::other),
            "/v1/metrics" => ExportMetricsServiceRequest::decode(body).map(Self::Metrics).map_err(io::Error::other),
            other => Err(io::Error::other(other.to_owned())),
        }
    }
}

async fn collect(listener: TcpListener, requests: mpsc::UnboundedSender<Request>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(answer(connection, requests.clone()));
    }
}

/// Answers with the part of HTTP that an exporter needs.
async fn answer(connection: TcpStream, requests: mpsc::UnboundedSender<Request>) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some((target, _)) = line.strip_prefix("post ").and_then(|rest| rest.split_once(' ')) {
                path = target.to_owned();
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        requests.send(Request::decode(&path, &body)?).map_err(io::Error::other)?;
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
}

fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_tasks_spans_and_counts_reach_the_collector_before_the_program_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, mut requests) = mpsc::unbounded_channel();
    let mut collector = JoinSet::new();
    collector.spawn(collect(listener, sender));

    let options = TelemetryOptions {
        service_name: "billing".to_owned(),
        otlp_endpoint: Some(url),
        ..TelemetryOptions::default()
    };
    let instance = Instance { name: "worker-1".to_owned(), version: "1.2.3".to_owned() };
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    assert!(matches!(Telemetry::start(&options, &instance), Err(Error::AlreadyStarted)));

    let mut headers = HeaderMap::new();
    let publish =
        PublishSpan::start(&PublishInfo { task: "orders.charge", id: "1", exchange: "", routing_key: "billing" });
    publish.inject(&mut headers);
    publish.end(Ok(()));
    let (queue, worker): (Arc<str>, Arc<str>) = ("billing".into(), "worker-1".into());
    let info = ProcessInfo {
        task: "orders.charge",
        id: "1",
        queue: &queue,
        exchange: "",
        routing_key: "billing",
        attempt: 1,
        delay: None,
        redelivered: false,
        delivery_tag: 1,
        worker: &worker,
        kept_logs: None,
        monitors: None,
    };
    let process = ProcessSpan::start(&headers, &info);
    let trace_id = process.trace_id().unwrap();
    process.run(async { tracing::info_span!("handler").in_scope(|| ()) }).await;
    let runtime = Duration::from_millis(300);
    process.emit(&TaskSucceeded { task: "orders.charge", id: "1", result: "null", runtime });
    process.end(TaskState::Success, None);
    telemetry.shutdown(Duration::from_secs(20)).await.unwrap();

    let (mut names, mut metrics) = (Vec::new(), Vec::new());
    while let Ok(request) = requests.try_recv() {
        match request {
            Request::Traces(request) => {
                for group in request.resource_spans {
                    assert_identity(group.resource);
                    for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                        let id: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
                        assert_eq!(id, trace_id);
                        names.push(span.name);
                    }
                }
            }
            Request::Metrics(request) => {
                for group in request.resource_metrics {
                    assert_identity(group.resource);
                    metrics.extend(group.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
                }
            }
        }
    }
    names.sort();
    assert_eq!(names, ["handler", "process billing", "publish billing"]);

    let finished = find(&metrics, "celeriac.tasks.finished").unwrap();
    let counted = sum(finished).unwrap();
    assert_eq!((finished.unit.as_str(), counted.is_monotonic, counted.data_points.len()), ("{task}", true, 1));
    let point = &counted.data_points[0];
    assert_eq!(point.value, Some(number_data_point::Value::AsInt(1)));
    assert_eq!(text(&point.attributes, "celeriac.task.name"), Some("orders.charge"));
    assert_eq!(text(&point.attributes, "celeriac.task.state"), Some("SUCCESS"));

    let duration = find(&metrics, "messaging.process.duration").unwrap();
    let timed = histogram(duration).unwrap();
    assert_eq!((duration.unit.as_str(), timed.data_points.len()), ("s", 1));
    let point = &timed.data_points[0];
    assert_eq!((point.count, point.sum), (1, Some(0.3)));
    assert_eq!(text(&point.attributes, "messaging.system"), Some("rabbitmq"));

    assert_eq!(ProcessSpan::start(&headers, &info).trace_id(), None, "after shutdown no traces are made");
}

fn assert_identity(resource: Option<Resource>) {
    let resource = resource.map(|resource| resource.attributes).unwrap_or_default();
    assert_eq!(text(&resource, "service.name"), Some("billing"));
    assert_eq!(text(&resource, "service.instance.id"), Some("worker-1"));
    assert_eq!(text(&resource, "service.version"), Some("1.2.3"));
}

fn find<'a>(metrics: &'a [Metric], name: &str) -> Option<&'a Metric> {
    metrics.iter().find(|metric| metric.name == name)
}

fn sum(metric: &Metric) -> Option<&Sum> {
    match metric.data.as_ref()? {
        Data::Sum(sum) => Some(sum),
        _ => None,
    }
}

fn histogram(metric: &Metric) -> Option<&Histogram> {
    match metric.data.as_ref()? {
        Data::Histogram(histogram) => Some(histogram),
        _ => None,
    }
}
