//! Export of spans to a collector.
//!
//! Spans wait in a bounded queue, which a thread of its own empties. If the queue is full, a new
//! span is dropped, so no task waits for a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::runtime::within;
use super::{Collector, ExportRuntime, failed};
use crate::error::Result;
use crate::events::Event;
use crate::events::telemetry::{SpansLost, TracesAccepted, TracesRefused};

/// Number of spans that may wait. Bounds memory while the collector is slow or unavailable.
const QUEUE: usize = 8_192;
/// Largest number of spans in one request.
const BATCH: usize = 1_024;
/// Longest time that a span waits for others.
const DELAY: Duration = Duration::from_secs(1);

/// Returns a processor that sends to the collector.
pub(crate) fn processor(collector: &Collector<'_>) -> Result<impl SpanProcessor + 'static> {
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let sent = Arc::new(AtomicU64::new(0));
    let exporter = exporter(collector, Arc::clone(&sent))?;
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(CountingProcessor { batches, ended: AtomicU64::new(0), sent })
}

/// A processor that counts spans, and logs the number of unsent ones at its shutdown.
#[derive(Debug)]
struct CountingProcessor {
    batches: BatchSpanProcessor,
    ended: AtomicU64,
    sent: Arc<AtomicU64>,
}

impl SpanProcessor for CountingProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let ended = self.batches.shutdown_with_timeout(timeout);
        let spans = self.ended.load(Ordering::Relaxed).saturating_sub(self.sent.load(Ordering::Relaxed));
        if spans > 0 {
            SpansLost { spans }.emit();
        }
        ended
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

fn exporter(collector: &Collector<'_>, sent: Arc<AtomicU64>) -> Result<TraceExporter> {
    let builder = opentelemetry_otlp::SpanExporter::builder();
    let exporter = match &collector.runtime {
        None => collector.over_http(builder.with_http(), "traces")?.build(),
        Some(runtime) => {
            let builder = collector.over_grpc(builder.with_tonic(), "traces")?;
            runtime.enter(|| builder.build())
        }
    };
    let exporter = exporter.map_err(|error| failed(collector.url, error))?;
    let (url, runtime) = (collector.shown("traces"), collector.runtime.clone());
    Ok(TraceExporter { exporter, url, runtime, lost: AtomicBool::new(false), sent })
}

/// An exporter that logs once when its collector fails, and once when it accepts again.
#[derive(Debug)]
struct TraceExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    /// The collector, without password.
    url: String,
    runtime: Option<ExportRuntime>,
    lost: AtomicBool,
    /// Number of spans that the collector accepted.
    sent: Arc<AtomicU64>,
}

impl SpanExporter for TraceExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = within(self.runtime.as_ref(), self.exporter.export(batch)).await;
        let was_lost = self.lost.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Ok(()) => {
                self.sent.fetch_add(spans as u64, Ordering::Relaxed);
            }
            Err(error) if !was_lost => TracesRefused { url: &self.url, error: &error.to_string() }.emit(),
            Err(_) => {}
        }
        if exported.is_ok() && was_lost {
            TracesAccepted { url: &self.url }.emit();
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
