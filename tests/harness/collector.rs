//! An OpenTelemetry collector that keeps everything it receives, over HTTP and over gRPC.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};

use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
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
    headers: Vec<HeaderMap>,
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

    /// Returns the headers of all requests so far.
    ///
    /// # Panics
    /// Panics if the collector itself has panicked.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.kept.lock().expect("the collector").headers.clone()
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
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate and its key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, kept: Arc<Mutex<Kept>>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&kept)));
    // An exporter that ends may leave its connection in any state.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// Answers an export over HTTP or over gRPC, which only differ in path, frame and trailers.
async fn answer(request: Request<Incoming>, kept: Arc<Mutex<Kept>>) -> Result<Response<Answer>, hyper::Error> {
    /// Length of the prefix of a message in gRPC: one byte for its compression, and its length.
    const PREFIX: usize = 5;
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    kept.lock().expect("the collector").headers.push(head.headers);
    let (path, is_grpc) = (head.uri.path(), head.uri.path().starts_with("/opentelemetry.proto."));
    let message = if is_grpc { &body[PREFIX..] } else { &body[..] };
    match path {
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => keep_spans(message, &kept),
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            keep_metrics(message, &kept)
        }
        other => panic!("an exporter asked for {other}"),
    }
    let content = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
    let empty = if is_grpc { Bytes::from_static(&[0; PREFIX]) } else { Bytes::new() };
    let trailers = is_grpc.then(|| HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), 0.into())]));
    let body = Full::new(empty).with_trailers(ready(trailers.map(Ok)));
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    Ok(answer)
}

type Answer = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

fn keep_spans(body: &[u8], kept: &Mutex<Kept>) {
    let request = ExportTraceServiceRequest::decode(body).expect("an export of spans");
    for resource in request.resource_spans {
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
}

fn keep_metrics(body: &[u8], kept: &Mutex<Kept>) {
    let request = ExportMetricsServiceRequest::decode(body).expect("an export of metrics");
    for resource in request.resource_metrics {
        let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        kept.lock().expect("the collector").metrics.extend(metrics);
    }
}
