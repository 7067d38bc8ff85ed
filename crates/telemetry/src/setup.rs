//! Subscriber and exporters, started once by a program and flushed at its end.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::channel::oneshot;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::telemetry::LogOptionsUnused;
use crate::export::Collector;
use crate::export::prometheus::MetricsPage;
#[cfg(unix)]
use crate::health::NotifyingThread;
use crate::health::{HealthServer, Heartbeat, ServingThread, observe_gauges};
use crate::levels::{self, LogLevels};
use crate::lines::LogLayer;
use crate::nesting::Nesting;
use crate::options::{LogFormat, LogOptions, TelemetryOptions, TraceOptions};
use crate::sampler::sampler;
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
    server: Option<ServingThread>,
    #[cfg(unix)]
    _notifying: Option<NotifyingThread>,
    /// Ends the heartbeats of the health server and of the messages to the service manager.
    _stop: DropGuard,
}

/// The providers, which own all exports.
#[derive(Debug)]
struct Providers {
    /// `None` without a collector.
    tracer: Option<SdkTracerProvider>,
    meter: SdkMeterProvider,
}

impl Telemetry {
    /// Starts log lines, the export of traces and metrics if the options name a collector, and the
    /// health server if they name its address.
    ///
    /// A program with a `tracing` subscriber of its own keeps it. That subscriber gets the log
    /// lines, the log options have no effect, and traces and metrics are still exported.
    ///
    /// A service manager that has set NOTIFY_SOCKET, such as systemd, is told when the program is
    /// ready, and that it is live.
    ///
    /// # Errors
    /// Returns an error if the options are invalid, if this process exports telemetry already, or
    /// if the health server cannot listen.
    pub fn start(options: &TelemetryOptions, instance: &Instance) -> Result<Self> {
        if let Some((key, reason)) = options.validate().into_iter().next() {
            return Err(Error::Invalid { key: format!("telemetry.{key}"), reason });
        }
        let page = options.listen.as_ref().map(|_| MetricsPage::with_reader()).transpose()?;
        let (page, reader) = page.unzip();
        let providers = Providers::new(options, instance, reader)?;
        let stop = CancellationToken::new();
        let server = page.map(|page| HealthSetup { options, instance, page, stop: &stop }.bind()).transpose()?;
        if let Some(providers) = &providers {
            providers.install(&options.traces)?;
        }
        let tracer = providers.as_ref().and_then(|providers| Some(providers.tracer.as_ref()?.tracer(SCOPE)));
        let output = Output { writer: io::stderr, color: io::stderr().is_terminal() };
        let (subscriber, levels) = subscriber(&options.log, output, tracer)?;
        let logs = tracing::dispatcher::set_global_default(subscriber).is_ok();
        match logs {
            true => levels::install(levels),
            false => LogOptionsUnused.emit(),
        }
        let server = server.map(|server| server.start(stop.clone())).transpose()?;
        Ok(Self {
            providers,
            logs,
            server,
            #[cfg(unix)]
            _notifying: NotifyingThread::start(&instance.name, stop.clone())?,
            _stop: stop.drop_guard(),
        })
    }

    /// Returns `true` if log lines follow the options, and `false` if the program has a subscriber
    /// of its own.
    pub fn writes_logs(&self) -> bool {
        self.logs
    }

    /// Returns the address of the health server, with the port that the system has chosen for port
    /// 0.
    pub fn listens(&self) -> Option<&str> {
        self.server.as_ref().map(|server| server.address.as_str())
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

/// The parts of a health server that does not listen yet.
struct HealthSetup<'a> {
    options: &'a TelemetryOptions,
    instance: &'a Instance,
    page: MetricsPage,
    stop: &'a CancellationToken,
}

impl HealthSetup<'_> {
    fn bind(self) -> Result<HealthServer> {
        let Self { options, instance, page, stop } = self;
        let address = options.listen_address().unwrap_or_else(|| Err("is missing".to_owned()));
        let address = address.map_err(|reason| Error::Invalid { key: "telemetry.listen".to_owned(), reason })?;
        HealthServer::bind(&address, instance.name.clone(), page, Heartbeat::start(stop.clone()))
    }
}

impl Providers {
    /// Returns the providers, or `None` if nothing reads spans or metrics. `page` is the reader of
    /// the page of metrics.
    fn new(options: &TelemetryOptions, instance: &Instance, page: Option<PrometheusExporter>) -> Result<Option<Self>> {
        let collector = options.otlp().map(Collector::new).transpose()?;
        if collector.is_none() && page.is_none() {
            return Ok(None);
        }
        let resource = Resource::builder()
            .with_service_name(options.service_name.clone())
            .with_attributes([
                KeyValue::new("service.instance.id", instance.name.clone()),
                KeyValue::new("service.version", instance.version.clone()),
            ])
            .build();
        let mut meter = SdkMeterProvider::builder().with_resource(resource.clone());
        let mut tracer = None;
        if let Some(collector) = collector {
            let sampler = sampler(options.traces.sample_ratio);
            let spans = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
            tracer = Some(spans.with_span_processor(export::traces::processor(&collector)?).build());
            meter = meter.with_reader(export::metrics::reader(&collector)?);
        }
        if let Some(page) = page {
            meter = meter.with_reader(page);
        }
        Ok(Some(Self { tracer, meter: meter.build() }))
    }

    /// Makes this process use these providers, including handlers that call OpenTelemetry's own
    /// API.
    fn install(&self, traces: &TraceOptions) -> Result<()> {
        metrics::install(self.meter.meter(SCOPE))?;
        observe_gauges(&self.meter.meter(SCOPE));
        global::set_meter_provider(self.meter.clone());
        if let Some(tracer) = &self.tracer {
            trace::install(tracer.tracer(SCOPE), traces.clone())?;
            global::set_text_map_propagator(TraceContextPropagator::new());
            global::set_tracer_provider(tracer.clone());
        }
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
        let traces = tracer.map_or(Ok(()), |tracer| tracer.shutdown_with_timeout(patience).map_err(flush_error));
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

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn subscriber<W>(options: &LogOptions, output: Output<W>, tracer: Option<SdkTracer>) -> Result<(Dispatch, LogLevels)>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let (filter, levels) = levels::filter(&options.level)?;
    let mut layers = vec![log_layer(options.format, filter, output)];
    if let Some(tracer) = tracer {
        layers.push(Nesting.with_filter(filter_fn(names_task)).boxed());
        layers.push(span_layer(tracer));
    }
    Ok((Registry::default().with(layers).into(), levels))
}

fn log_layer<W>(format: LogFormat, filter: reload::Layer<EnvFilter, Registry>, output: Output<W>) -> BoxedLayer
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let Output { writer, color } = output;
    LogLayer { format, color, writer }.with_filter(filter).boxed()
}

/// Returns a layer that exports handlers' own spans as children of their task's span.
///
/// The layer omits the span that names the task on log lines. A handler's outermost span then has
/// the current OpenTelemetry context as its parent, which is that of the task's `process` span.
fn span_layer(tracer: SdkTracer) -> BoxedLayer {
    // lapin has a span for each of its threads, which belong to no task.
    let is_lapins = |metadata: &Metadata<'_>| metadata.target().split("::").next() == Some("lapin");
    let wanted = LevelFilter::INFO.and(filter_fn(move |metadata| !names_task(metadata) && !is_lapins(metadata)));
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
        super::subscriber(options, Output { writer: move || captured.clone(), color: false }, tracer).unwrap().0
    }
}
