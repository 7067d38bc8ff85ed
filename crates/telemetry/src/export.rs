//! Spans on their way to a collector.
//!
//! They wait in a bounded queue that one thread of its own empties. What finds the queue full is dropped: no task ever waits
//! for a collector.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::traces::{CollectorLost, CollectorRestored, SpansLost};
use crate::metrics::{Counter, add, count, read};

/// How many spans may wait; bounds memory when the collector is slow or gone.
const QUEUE: usize = 8_192;
/// How many spans go in one request.
const BATCH: usize = 1_024;
/// How long a span waits for others before it goes.
const DELAY: Duration = Duration::from_secs(1);

/// How long one batch may be on its way. Meanwhile the queue fills, and then spans are dropped.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The way to the collector at `url`, which stands without the path that OTLP adds for traces.
pub(crate) fn processor(url: &str) -> Result<impl SpanProcessor + 'static> {
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    Ok(Counted(BatchSpanProcessor::builder(exporter(url)?).with_batch_config(batches).build()))
}

/// A processor that counts what ends, and tells at the end how much of it was never sent.
#[derive(Debug)]
struct Counted(BatchSpanProcessor);

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        count(Counter::SpansEnded);
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let ended = self.0.shutdown_with_timeout(timeout);
        let spans = read(Counter::SpansEnded).saturating_sub(read(Counter::SpansSent));
        if spans > 0 {
            SpansLost { spans }.emit();
        }
        ended
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn exporter(url: &str) -> Result<Watched<opentelemetry_otlp::SpanExporter>> {
    let endpoint = format!("{}/v1/traces", url.trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(&endpoint)
        .with_timeout(TIMEOUT)
        .with_retry_policy(opentelemetry_otlp::RetryPolicy::recommended())
        .build();
    match exporter {
        Ok(exporter) => Ok(Watched { exporter, endpoint, lost: AtomicBool::new(false) }),
        Err(source) => Err(Error::Exporter { endpoint, source: Box::new(source) }),
    }
}

/// An exporter that says once when its collector is gone, and once when it is back.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    endpoint: String,
    lost: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        let was_lost = self.lost.swap(exported.is_err(), Ordering::Relaxed);
        match &exported {
            Ok(()) => add(Counter::SpansSent, spans as u64),
            Err(error) if !was_lost => CollectorLost { endpoint: &self.endpoint, error: &error.to_string() }.emit(),
            Err(_) => {}
        }
        if exported.is_ok() && was_lost {
            CollectorRestored { endpoint: &self.endpoint }.emit();
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
