//! Exporters of traces and metrics over OTLP, and the page of metrics for Prometheus.

pub(crate) mod metrics;
pub(crate) mod prometheus;
pub(crate) mod traces;

use std::time::Duration;

use celeriac_config::Secret;
use reqwest::blocking::Client;
use rustls::crypto::{CryptoProvider, ring};

use crate::error::{Error, Result};

/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the address of a signal, `traces` or `metrics`, at the collector at `url`.
fn endpoint(url: &str, signal: &str) -> String {
    format!("{}/v1/{signal}", url.trim_end_matches('/'))
}

/// Returns the HTTP client of an exporter. It verifies the collector by the authorities that this
/// machine trusts.
fn client(endpoint: &str) -> Result<Client> {
    let unmade = |source: Box<dyn std::error::Error + Send + Sync>| Error::Exporter {
        url: Secret::new(endpoint).masked(),
        source,
    };
    if CryptoProvider::get_default().is_none() {
        // The provider of the broker's connections. If the program has installed its own, that one
        // is used.
        let _ = ring::default_provider().install_default();
    }
    let mut client = Client::builder().timeout(TIMEOUT);
    if !endpoint.starts_with("https://") {
        // Without trusted authorities, an export over HTTP is still possible.
        client = client.tls_certs_only([]);
    }
    // Building the client blocks, which a thread of an async runtime may not do.
    let made = std::thread::Builder::new().spawn(move || client.build()).map_err(|error| unmade(error.into()))?.join();
    made.map_err(|_| unmade("the thread that makes it panicked".into()))?.map_err(|error| unmade(error.into()))
}
