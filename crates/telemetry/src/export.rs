//! Exporters of traces and metrics over OTLP, and the page of metrics for Prometheus.

pub(crate) mod metrics;
pub(crate) mod prometheus;
mod runtime;
pub(crate) mod traces;

use std::collections::HashMap;
use std::time::Duration;

use celeriac_config::Secret;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{Protocol, RetryPolicy, WithExportConfig, WithHttpConfig, WithTonicConfig};
use reqwest::blocking::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::{CryptoProvider, ring};

pub(crate) use self::runtime::ExportRuntime;
use crate::error::{Error, Result};
use crate::otlp::{OtlpProtocol, OtlpTarget};

/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The collector, and the way to it.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    target: OtlpTarget<'a>,
    url: &'a str,
    /// Trusted certificates, in PEM, in place of those of the machine.
    authorities: Option<Vec<u8>>,
    /// The runtime of gRPC. `None` for HTTP.
    runtime: Option<ExportRuntime>,
}

impl<'a> Collector<'a> {
    /// Prepares the way to a collector.
    pub(crate) fn new(target: OtlpTarget<'a>) -> Result<Self> {
        let url = target.url;
        if CryptoProvider::get_default().is_none() {
            // The provider of the broker's connections. If the program has installed its own, that
            // one is used.
            let _ = ring::default_provider().install_default();
        }
        let unmade = |source: std::io::Error| failed(url, source);
        let authorities = target.cacertfile.map(std::fs::read).transpose().map_err(unmade)?;
        let runtime = match target.protocol {
            OtlpProtocol::HttpProtobuf => None,
            OtlpProtocol::Grpc => Some(ExportRuntime::start().map_err(unmade)?),
        };
        Ok(Self { target, url, authorities, runtime })
    }

    /// Returns the URL of a signal, `traces` or `metrics`, without password.
    fn shown(&self, signal: &str) -> String {
        Secret::new(self.endpoint(signal)).masked()
    }

    fn endpoint(&self, signal: &str) -> String {
        match self.runtime {
            None => format!("{}/v1/{signal}", self.url.trim_end_matches('/')),
            Some(_) => self.url.to_owned(),
        }
    }

    fn is_secure(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// Sets up an exporter over HTTP.
    fn over_http<B: WithExportConfig + WithHttpConfig>(&self, exporter: B, signal: &str) -> Result<B> {
        let headers = self.target.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        Ok(exporter
            .with_http_client(self.client()?)
            .with_headers(headers.collect::<HashMap<_, _>>())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(self.endpoint(signal))
            .with_timeout(TIMEOUT)
            .with_retry_policy(RetryPolicy::recommended()))
    }

    /// Sets up an exporter over gRPC. It has to be built within the runtime.
    fn over_grpc<B: WithExportConfig + WithTonicConfig>(&self, exporter: B, signal: &str) -> Result<B> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.target.headers {
            let name = HeaderName::try_from(name).map_err(|error| failed(self.url, error))?;
            headers.insert(name, HeaderValue::try_from(value.expose()).map_err(|error| failed(self.url, error))?);
        }
        let exporter = exporter
            .with_metadata(MetadataMap::from_headers(headers))
            .with_protocol(Protocol::Grpc)
            .with_endpoint(self.endpoint(signal))
            .with_timeout(TIMEOUT)
            .with_retry_policy(RetryPolicy::recommended());
        if !self.is_secure() {
            return Ok(exporter);
        }
        let tls = match &self.authorities {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        Ok(exporter.with_tls_config(tls))
    }

    /// Returns the HTTP client of an exporter.
    fn client(&self) -> Result<Client> {
        let mut client = Client::builder().timeout(TIMEOUT);
        if !self.is_secure() {
            // Without trusted authorities, an export over HTTP is still possible.
            client = client.tls_certs_only([]);
        } else if let Some(pem) = &self.authorities {
            let authorities = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| failed(self.url, error))?;
            client = client.tls_certs_only(authorities);
        }
        // Building the client blocks, which a thread of an async runtime may not do.
        let made = std::thread::Builder::new().spawn(move || client.build());
        let made = made.map_err(|error| failed(self.url, error))?.join();
        let panicked = |_| failed(self.url, "the thread that makes it panicked");
        made.map_err(panicked)?.map_err(|error| failed(self.url, error))
    }
}

/// Returns the error of an exporter that cannot be made.
fn failed(url: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Exporter { url: Secret::new(url).masked(), source: source.into() }
}
