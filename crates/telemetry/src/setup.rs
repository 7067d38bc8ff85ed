//! Subscriber and exporters, started once by a program and flushed at its end.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Metadata};
use tracing_subscriber::filter::{Directive, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::telemetry::LogOptionsUnused;
use crate::lines::LogLayer;
use crate::nesting::Nesting;
use crate::options::{LogOptions, TelemetryOptions};
use crate::{export, metrics, trace};

/// The identity of a program in its telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name within the service: the worker's name, or the host's.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

/// The telemetry of a program, from start to flush.
#[derive(Debug)]
#[must_use = "traces and metrics that wait are sent by `shutdown`"]
pub struct Telemetry {
    providers: Option<Providers>,
    logs: bool,
}

/// The providers, which own all exports.
#[derive(Debug)]
struct Providers {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
}

impl Telemetry {
    /// Starts log lines, and the export of traces and metrics if the options name a collector.
    ///
    /// A program with a `tracing` subscriber of its own keeps it. That subscriber gets the log
    /// lines, the log options have no effect, and traces and metrics are still exported.
    ///
    /// # Errors
    /// Returns an error if the options are invalid, or if this process exports telemetry already.
    pub fn start(options: &TelemetryOptions, instance: &Instance) -> Result<Self> {
        if let Some((key, reason)) = options.validate().into_iter().next() {
            return Err(Error::Invalid { key: format!("telemetry.{key}"), reason });
        }
        let providers =
            options.otlp_endpoint.as_deref().map(|url| Providers::new(options, instance, url)).transpose()?;
        if let Some(providers) = &providers {
            providers.install()?;
        }
        let tracer = providers.as_ref().map(|providers| providers.tracer.tracer(SCOPE));
        let output = Output { writer: io::stderr, color: io::stderr().is_terminal() };
        let logs = tracing::dispatcher::set_global_default(subscriber(&options.log, output, tracer)?).is_ok();
        if !logs {
            LogOptionsUnused.emit();
        }
        Ok(Self { providers, logs })
    }

    /// Returns `true` if log lines follow the options, and `false` if the program has a subscriber
    /// of its own.
    pub fn writes_logs(&self) -> bool {
        self.logs
    }

    /// Exports the remaining traces and metrics, for `patience` at most. Spans that end later are
    /// dropped.
    ///
    /// # Errors
    /// Returns an error if not everything was sent in time. A collector that refuses data is not an
    /// error: the log has the number of lost spans.
    pub async fn shutdown(self, patience: Duration) -> Result<()> {
        let Some(providers) = self.providers else { return Ok(()) };
        let (done, ended) = oneshot::channel();
        // On a thread of its own, because flushing blocks, and would stop a runtime of one thread.
        std::thread::Builder::new()
            .name("celeriac-flush".to_owned())
            .spawn(move || done.send(providers.shutdown(patience)))
            .map_err(flush_error)?;
        ended.await.map_err(flush_error)?
    }
}

/// The instrumentation scope of all spans and metrics.
const SCOPE: &str = "celeriac";

impl Providers {
    fn new(options: &TelemetryOptions, instance: &Instance, url: &str) -> Result<Self> {
        let resource = Resource::builder()
            .with_service_name(options.service_name.clone())
            .with_attributes([
                KeyValue::new("service.instance.id", instance.name.clone()),
                KeyValue::new("service.version", instance.version.clone()),
            ])
            .build();
        let tracer = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.traces.sample_ratio))))
            .with_span_processor(export::traces::processor(url)?)
            .build();
        let reader = export::metrics::reader(url)?;
        let meter = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
        Ok(Self { tracer, meter })
    }

    /// Makes this process use these providers, including handlers that call OpenTelemetry's own
    /// API.
    fn install(&self) -> Result<()> {
        trace::install(self.tracer.tracer(SCOPE))?;
        metrics::install(self.meter.meter(SCOPE))?;
        global::set_text_map_propagator(TraceContextPropagator::new());
        global::set_tracer_provider(self.tracer.clone());
        global::set_meter_provider(self.meter.clone());
        Ok(())
    }

    /// Exports all remaining data, traces and metrics in parallel.
    fn shutdown(self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let (done, ended) = mpsc::channel();
        let Self { tracer, meter } = self;
        // The provider of metrics waits for its last export without a limit, so it runs on a thread
        // of its own.
        let exported = std::thread::Builder::new()
            .name("celeriac-flush-metrics".to_owned())
            .spawn(move || done.send(meter.shutdown_with_timeout(patience)));
        let traces = tracer.shutdown_with_timeout(patience).map_err(flush_error);
        exported.map_err(flush_error)?;
        // A collector that refuses metrics is logged already, so only the deadline is an error.
        let metrics = ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(flush_error);
        traces.and(metrics.map(drop))
    }
}

fn flush_error(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Flush { source: Box::new(source) }
}

/// The destination of log lines.
struct Output<W> {
    writer: W,
    color: bool,
}

/// Levels of libraries. `telemetry.log.level` overrides them if it names the library.
///
/// lapin logs lost connections as errors, which this project handles and logs itself. sqlx logs at
/// `INFO` that it replaced a pooled connection that did not answer, and at `WARN` each lost
/// connection that returns to its pool.
const OTHERS: &str = "lapin=off,sqlx_core=warn,sqlx_core::pool::connection=off";

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn subscriber<W>(options: &LogOptions, output: Output<W>, tracer: Option<SdkTracer>) -> Result<Dispatch>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let mut layers = vec![log_layer(options, output)?];
    if let Some(tracer) = tracer {
        layers.push(Nesting.with_filter(filter_fn(names_task)).boxed());
        layers.push(span_layer(tracer));
    }
    Ok(Registry::default().with(layers).into())
}

fn log_layer<W>(options: &LogOptions, output: Output<W>) -> Result<BoxedLayer>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let invalid = |error: &dyn std::error::Error| Error::Invalid {
        key: "telemetry.log.level".to_owned(),
        reason: error.to_string(),
    };
    let level = format!("{OTHERS},{}", options.level);
    let mut filter = EnvFilter::try_new(level).map_err(|error| invalid(&error))?;
    if filter.max_level_hint() != Some(LevelFilter::OFF) {
        // The span that names the task is always enabled, so that every log line has task, id and
        // trace id.
        let names: Directive = format!("{}=error", trace::TASK_TARGET).parse().map_err(|error| invalid(&error))?;
        filter = filter.add_directive(names);
    }
    let Output { writer, color } = output;
    Ok(LogLayer { format: options.format, color, writer }.with_filter(filter).boxed())
}

/// Returns a layer that exports handlers' own spans as children of their task's span.
///
/// The layer omits the span that names the task on log lines. A handler's outermost span then has
/// the current OpenTelemetry context as its parent, which is that of the task's `process` span.
fn span_layer(tracer: SdkTracer) -> BoxedLayer {
    let wanted = LevelFilter::INFO.and(filter_fn(|metadata| !names_task(metadata)));
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(wanted)
        .boxed()
}

fn names_task(metadata: &Metadata<'_>) -> bool {
    metadata.target() == trace::TASK_TARGET
}

#[cfg(test)]
pub(crate) mod testing {
    //! Captures log lines in memory.

    use std::sync::{Arc, Mutex};

    use super::*;

    /// The written log lines.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the subscriber of a program with these options, and captures its lines.
    pub(crate) fn subscriber(options: &LogOptions, captured: Captured, tracer: Option<SdkTracer>) -> Dispatch {
        super::subscriber(options, Output { writer: move || captured.clone(), color: false }, tracer).unwrap()
    }
}
