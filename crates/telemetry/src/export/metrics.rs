//! Export of metrics to a collector.
//!
//! A thread of its own reads the instruments once a minute, or at the interval of
//! `OTEL_METRIC_EXPORT_INTERVAL`. Sums are cumulative, so the next export has the data of a failed
//! one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use celeriac_config::Secret;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};

use super::{TIMEOUT, client, endpoint};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::telemetry::{MetricsAccepted, MetricsRefused};

/// Returns a reader that exports to the collector at `url`.
pub(crate) fn reader(url: &str) -> Result<PeriodicReader<MetricExporter>> {
    let endpoint = endpoint(url, "metrics");
    let exporter = opentelemetry_otlp::MetricExporter::builder()
        .with_http()
        .with_http_client(client(&endpoint)?)
        .with_endpoint(&endpoint)
        .with_timeout(TIMEOUT)
        .with_retry_policy(opentelemetry_otlp::RetryPolicy::recommended())
        .build();
    match exporter {
        Ok(exporter) => {
            let url = Secret::new(endpoint).masked();
            Ok(PeriodicReader::builder(MetricExporter { exporter, url, refused: AtomicBool::new(false) }).build())
        }
        Err(source) => Err(Error::Exporter { url: Secret::new(endpoint).masked(), source: Box::new(source) }),
    }
}

/// An exporter that logs once when its collector refuses, and once when it accepts again.
#[derive(Debug)]
pub(crate) struct MetricExporter {
    exporter: opentelemetry_otlp::MetricExporter,
    /// The collector, without password.
    url: String,
    refused: AtomicBool,
}

impl PushMetricExporter for MetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = self.exporter.export(metrics).await;
        let was_refused = self.refused.swap(exported.is_err(), Ordering::Relaxed);
        let url = &self.url;
        match &exported {
            Ok(()) if was_refused => MetricsAccepted { url }.emit(),
            Err(error) if !was_refused => MetricsRefused { url, error: &error.to_string() }.emit(),
            _ => {}
        }
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
