//! The page of metrics that Prometheus reads.

use std::fmt;

use opentelemetry_prometheus::PrometheusExporter;
use prometheus::{Registry, TextEncoder};

use crate::error::{Error, Result};

/// The page of metrics, made anew for each request.
#[derive(Clone)]
pub(crate) struct MetricsPage(Registry);

impl MetricsPage {
    /// Media type of the page.
    pub(crate) const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// Returns the page, and the reader of the instruments that fills it.
    pub(crate) fn with_reader() -> Result<(Self, PrometheusExporter)> {
        let registry = Registry::new();
        // The scope of every metric is the program, so its labels would be the same everywhere.
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|source| Error::Exporter { url: "/metrics".to_owned(), source: Box::new(source) })?;
        Ok((Self(registry), reader))
    }

    pub(crate) fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

impl fmt::Debug for MetricsPage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MetricsPage")
    }
}
