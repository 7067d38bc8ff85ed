//! Export of metrics to a collector.
//!
//! A thread of its own reads the instruments once a minute, or at the interval of
//! `OTEL_METRIC_EXPORT_INTERVAL`. Sums are cumulative, so the next export has the data of a failed
//! one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};

use super::runtime::within;
use super::{Collector, ExportRuntime, failed};
use crate::error::Result;
use crate::events::Event;
use crate::events::telemetry::{MetricsAccepted, MetricsRefused};

/// Returns a reader that exports to the collector.
pub(crate) fn reader(collector: &Collector<'_>) -> Result<PeriodicReader<MetricExporter>> {
    let builder = opentelemetry_otlp::MetricExporter::builder();
    let exporter = match &collector.runtime {
        None => collector.over_http(builder.with_http(), "metrics")?.build(),
        Some(runtime) => {
            let builder = collector.over_grpc(builder.with_tonic(), "metrics")?;
            runtime.enter(|| builder.build())
        }
    };
    let exporter = exporter.map_err(|error| failed(collector.url, error))?;
    let (url, runtime) = (collector.shown("metrics"), collector.runtime.clone());
    Ok(PeriodicReader::builder(MetricExporter { exporter, url, runtime, refused: AtomicBool::new(false) }).build())
}

/// An exporter that logs once when its collector refuses, and once when it accepts again.
#[derive(Debug)]
pub(crate) struct MetricExporter {
    exporter: opentelemetry_otlp::MetricExporter,
    /// The collector, without password.
    url: String,
    runtime: Option<ExportRuntime>,
    refused: AtomicBool,
}

impl PushMetricExporter for MetricExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = within(self.runtime.as_ref(), self.exporter.export(metrics)).await;
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
