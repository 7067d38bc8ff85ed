//! Traces arrive at a collector, also when program and collector share one thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{HeaderMap, State};
use celeriac_telemetry::{Error, Instance, ProcessInfo, ProcessSpan, PublishSpan, Telemetry, TelemetryOptions};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A request as a collector gets it: its path and what it says.
type Request = (String, ExportTraceServiceRequest);

async fn collect(listener: TcpListener, requests: mpsc::UnboundedSender<Request>) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        connections.spawn(answer(connection, requests.clone()));
    }
}

/// As much of HTTP as an exporter needs.
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
        let request = ExportTraceServiceRequest::decode(&*body).map_err(io::Error::other)?;
        requests.send((path, request)).map_err(io::Error::other)?;
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
async fn a_tasks_spans_reach_the_collector_before_the_program_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (sender, mut requests) = mpsc::unbounded_channel();
    let mut collector = JoinSet::new();
    collector.spawn(collect(listener, sender));

    let options = TelemetryOptions { service: "billing".to_owned(), otlp: Some(url), ..TelemetryOptions::default() };
    let instance = Instance { name: "worker-1".to_owned(), version: "1.2.3".to_owned() };
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    assert!(matches!(Telemetry::start(&options, &instance), Err(Error::AlreadyStarted)));

    let mut headers = HeaderMap::new();
    let publish = PublishSpan::start("orders.charge", "1", "", "billing");
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
        redelivered: false,
        worker: &worker,
    };
    let process = ProcessSpan::start(&headers, &info);
    let trace_id = process.trace_id().unwrap();
    process.run(async { tracing::info_span!("handler").in_scope(|| ()) }).await;
    process.end(State::Success, None);
    telemetry.shutdown(Duration::from_secs(20)).await.unwrap();

    let mut names = Vec::new();
    while let Ok((path, request)) = requests.try_recv() {
        assert_eq!(path, "/v1/traces");
        for group in request.resource_spans {
            let resource = group.resource.unwrap().attributes;
            assert_eq!(text(&resource, "service.name"), Some("billing"));
            assert_eq!(text(&resource, "service.instance.id"), Some("worker-1"));
            assert_eq!(text(&resource, "service.version"), Some("1.2.3"));
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let id: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(id, trace_id);
                names.push(span.name);
            }
        }
    }
    names.sort();
    assert_eq!(names, ["handler", "process billing", "publish billing"]);
    assert_eq!(ProcessSpan::start(&headers, &info).trace_id(), None, "after shutdown no traces are made");
}
