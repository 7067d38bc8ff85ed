//! An OpenTelemetry collector that keeps everything it receives.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::authority::Issued;

/// A collector on a free port.
#[derive(Debug)]
pub struct Collector {
    url: String,
    kept: Arc<Mutex<Kept>>,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<Collected>,
    metrics: Vec<Metric>,
}

/// A span, and its sender.
#[derive(Debug, Clone)]
pub struct Collected {
    /// The service of the sender.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Collected {
    /// Returns the trace id, in the form of logs and rows.
    pub fn trace_id(&self) -> String {
        self.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns an attribute that is text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let value = self.span.attributes.iter().find(|attribute| attribute.key == name)?.value.clone()?.value?;
        match value {
            any_value::Value::StringValue(text) => Some(text),
            _ => None,
        }
    }
}

impl Collector {
    /// Starts a collector.
    pub async fn start() -> Self {
        Self::listen(None).await
    }

    /// Starts a collector over TLS, as `localhost`.
    pub async fn start_tls(issued: &Issued) -> Self {
        Self::listen(Some(acceptor(issued))).await
    }

    async fn listen(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = match tls {
            None => format!("http://{address}"),
            Some(_) => format!("https://localhost:{}", address.port()),
        };
        let kept = Arc::new(Mutex::new(Kept::default()));
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (all, stopped, connections) = (Arc::clone(&kept), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (tls, all) = (tls.clone(), Arc::clone(&all));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, all).await,
                        // A client that does not trust this collector closes the connection.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, all).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, kept, _stop: stop.drop_guard() }
    }

    /// Returns the endpoint.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Returns all spans so far.
    ///
    /// # Panics
    /// Panics if the collector itself has panicked.
    pub fn spans(&self) -> Vec<Collected> {
        self.kept.lock().expect("the collector").spans.clone()
    }

    /// Returns the latest export of a metric.
    ///
    /// # Panics
    /// Panics if the collector itself has panicked.
    pub fn metric(&self, name: &str) -> Option<Metric> {
        self.kept.lock().expect("the collector").metrics.iter().rev().find(|metric| metric.name == name).cloned()
    }
}

fn acceptor(issued: &Issued) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&issued.certificate).expect("a certificate");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&issued.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    Arc::new(config).into()
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, kept: Arc<Mutex<Kept>>) {
    let mut stream = BufReader::new(stream);
    while let Some((path, body)) = request(&mut stream).await {
        let taken = match path.as_str() {
            "/v1/traces" => keep_spans(&body, &kept),
            "/v1/metrics" => keep_metrics(&body, &kept),
            other => panic!("an exporter asked for {other}"),
        };
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if taken.is_err() || stream.get_mut().write_all(answer).await.is_err() {
            return;
        }
    }
}

fn keep_spans(body: &[u8], kept: &Mutex<Kept>) -> Result<(), prost::DecodeError> {
    for resource in ExportTraceServiceRequest::decode(body)?.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = attributes.into_iter().find(|attribute| attribute.key == "service.name");
        let service = match service.and_then(|attribute| attribute.value?.value) {
            Some(any_value::Value::StringValue(text)) => text,
            _ => String::new(),
        };
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let spans = spans.map(|span| Collected { service: service.clone(), span });
        kept.lock().expect("the collector").spans.extend(spans);
    }
    Ok(())
}

fn keep_metrics(body: &[u8], kept: &Mutex<Kept>) -> Result<(), prost::DecodeError> {
    for resource in ExportMetricsServiceRequest::decode(body)?.resource_metrics {
        let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        kept.lock().expect("the collector").metrics.extend(metrics);
    }
    Ok(())
}

/// Returns path and body of the next request.
async fn request(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let path = line.strip_prefix("POST ")?.split_once(' ')?.0.to_owned();
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
    Some((path, body))
}
