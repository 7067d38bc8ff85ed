//! The receiver of spans, and Jaeger's interface.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use otlp_embedded::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use otlp_embedded::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use otlp_embedded::proto::trace::v1::Span;
use otlp_embedded::proto::trace::v1::span::SpanKind;
use otlp_embedded::proto::trace::v1::status::StatusCode;
use otlp_embedded::{Config, State, TraceService, TraceServiceImpl, TraceServiceServer, ui_app};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Both servers, which run until the program ends.
#[derive(Debug)]
pub(crate) struct Jaeger {
    interface: SocketAddr,
    receiver: SocketAddr,
    _servers: TaskTracker,
}

impl Jaeger {
    /// Starts both on free ports.
    pub(crate) async fn start() -> Result<Self> {
        let state = State::new(Config { max_length: 1_000, max_memory_usage: 64 << 20 });
        let servers = TaskTracker::new();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the interface")?;
        let interface = listener.local_addr()?;
        let pages = ui_app(state.clone(), "/");
        servers.spawn(async move { axum::serve(listener, pages).await });

        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).context("no port for the receiver")?;
        let receiver = incoming.local_addr()?;
        let service = TraceServiceServer::new(Receiver(TraceServiceImpl::new(state)));
        servers.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Ok(Self { interface, receiver, _servers: servers })
    }

    /// Returns the endpoint for `telemetry.otlp_endpoint`, by gRPC.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.receiver)
    }

    /// Returns the URL of a trace's page.
    pub(crate) fn page(&self, trace: &str) -> String {
        format!("http://{}/trace/{trace}", self.interface)
    }

    /// Returns the URL of a trace as JSON.
    pub(crate) fn data(&self, trace: &str) -> String {
        format!("http://{}/api/traces/{trace}", self.interface)
    }
}

/// Receives spans, and gives them the tags that Jaeger makes of OTLP's fields. Its interface marks
/// failed spans by such a tag.
struct Receiver(TraceServiceImpl);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        mut request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.get_mut().resource_spans.iter_mut();
        let spans = resources.flat_map(|resource| &mut resource.scope_spans).flat_map(|scope| &mut scope.spans);
        spans.for_each(tag);
        self.0.export(request).await
    }
}

fn tag(span: &mut Span) {
    let kind = match span.kind() {
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Internal | SpanKind::Unspecified => "internal",
    };
    span.attributes.push(attribute("span.kind", Value::StringValue(kind.to_owned())));
    let failed = span.status.as_ref().filter(|status| status.code() == StatusCode::Error);
    if let Some(message) = failed.map(|status| status.message.clone()) {
        span.attributes.push(attribute("error", Value::BoolValue(true)));
        span.attributes.push(attribute("otel.status_description", Value::StringValue(message)));
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
