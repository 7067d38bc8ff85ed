//! An OpenTelemetry collector that keeps what it is sent.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A collector on a free port.
#[derive(Debug)]
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Collected>>>,
    _stop: DropGuard,
}

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub struct Collected {
    /// Its service.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Collected {
    /// Its trace id, as logs and rows write it.
    pub fn trace_id(&self) -> String {
        self.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// An attribute that is text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let value = self.span.attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
        match value {
            any_value::Value::StringValue(text) => Some(text),
            _ => None,
        }
    }
}

impl Collector {
    /// Starts to collect.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let spans = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (kept, stopped, connections) = (Arc::clone(&spans), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                connections.spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { url, spans, _stop: stop.drop_guard() }
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Everything it was sent so far.
    ///
    /// # Panics
    /// When the collector itself has panicked.
    pub fn spans(&self) -> Vec<Collected> {
        self.spans.lock().expect("the collector").clone()
    }
}

async fn serve(stream: TcpStream, kept: Arc<Mutex<Vec<Collected>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(body) = request(&mut stream).await {
        let Ok(export) = ExportTraceServiceRequest::decode(body.as_slice()) else { return };
        for resource in export.resource_spans {
            let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
            let service = match service.and_then(|attribute| attribute.value?.value) {
                Some(any_value::Value::StringValue(text)) => text,
                _ => String::new(),
            };
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| Collected { service: service.clone(), span });
            kept.lock().expect("the collector").extend(spans);
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if stream.get_mut().write_all(answer).await.is_err() {
            return;
        }
    }
}

/// The body of the next request to `/v1/traces`.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    assert!(line.starts_with("POST /v1/traces "), "an exporter asked for {line}");
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}
