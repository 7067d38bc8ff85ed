//! Subscriber and exporter, started once by a program and flushed at its end.

use std::io::{self, IsTerminal};
use std::time::Duration;

use futures::channel::oneshot;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Metadata};
use tracing_subscriber::filter::{Directive, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::error::{Error, Result};
use crate::nesting::Nesting;
use crate::options::{LogFormat, LogOptions, TelemetryOptions};
use crate::{export, trace};

/// Which program tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name among others of the same service: the worker's name, or the host's.
    pub name: String,
    /// The program's version.
    pub version: String,
}

/// What a program tells, from start to flush.
#[derive(Debug)]
#[must_use = "traces that wait are sent by `shutdown`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    logs: bool,
}

impl Telemetry {
    /// Begins to write log lines, and to send traces where the options name a collector.
    ///
    /// A program that has installed a `tracing` subscriber of its own keeps it: it gets the log lines, the log options are
    /// left aside, and traces are sent all the same.
    ///
    /// # Errors
    /// When the options do not make sense, or this process sends traces already.
    pub fn start(options: &TelemetryOptions, instance: &Instance) -> Result<Self> {
        if let Some((key, reason)) = options.validate().into_iter().next() {
            return Err(Error::Invalid { key: format!("telemetry.{key}"), reason });
        }
        let provider = options.otlp.as_deref().map(|url| provider(options, instance, url)).transpose()?;
        let tracer = provider.as_ref().map(|provider| provider.tracer("celeriac"));
        if let (Some(tracer), Some(provider)) = (&tracer, &provider) {
            trace::install(tracer.clone())?;
            global::set_text_map_propagator(TraceContextPropagator::new());
            global::set_tracer_provider(provider.clone());
        }
        let output = Output { writer: io::stderr, color: io::stderr().is_terminal() };
        let logs = tracing::dispatcher::set_global_default(subscriber(&options.log, output, tracer)?).is_ok();
        if !logs {
            tracing::debug!(target: "celeriac", "the program's own tracing subscriber stays; telemetry.log is left aside");
        }
        Ok(Self { provider, logs })
    }

    /// Whether log lines are written as the options say: false where the program has a subscriber of its own.
    pub fn writes_logs(&self) -> bool {
        self.logs
    }

    /// Sends the traces that wait, for as long as `patience` lasts. Spans that end later are dropped.
    ///
    /// # Errors
    /// When patience ended first. A collector that refuses is no error: the log tells what was lost.
    pub async fn shutdown(self, patience: Duration) -> Result<()> {
        let Some(provider) = self.provider else { return Ok(()) };
        let (done, ended) = oneshot::channel();
        // On a thread of its own: flushing blocks, and a runtime of one thread could not do anything else meanwhile.
        std::thread::Builder::new()
            .name("celeriac-flush".to_owned())
            .spawn(move || done.send(provider.shutdown_with_timeout(patience)))
            .map_err(|source| Error::Flush { source: Box::new(source) })?;
        match ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Flush { source: Box::new(source) }),
            Err(source) => Err(Error::Flush { source: Box::new(source) }),
        }
    }
}

fn provider(options: &TelemetryOptions, instance: &Instance, url: &str) -> Result<SdkTracerProvider> {
    let resource = Resource::builder()
        .with_service_name(options.service.clone())
        .with_attributes([
            KeyValue::new("service.instance.id", instance.name.clone()),
            KeyValue::new("service.version", instance.version.clone()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.traces.ratio))))
        .with_span_processor(export::processor(url)?)
        .build())
}

/// Where log lines go.
struct Output<W> {
    writer: W,
    color: bool,
}

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
    // lapin logs as errors what this project expects, handles, and tells in words of its own. Whoever names it sees it.
    let level = format!("lapin=off,{}", options.level);
    let mut filter = EnvFilter::try_new(level).map_err(|error| invalid(&error))?;
    if filter.max_level_hint() != Some(LevelFilter::OFF) {
        // Whatever is logged at all is logged with task, id and trace id.
        let names: Directive = format!("{}=error", trace::TASK_TARGET).parse().map_err(|error| invalid(&error))?;
        filter = filter.add_directive(names);
    }
    let layer = tracing_subscriber::fmt::layer().with_writer(output.writer).with_ansi(output.color);
    Ok(match options.format {
        LogFormat::Text => layer.with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed(),
    })
}

/// Handlers' own spans, as children of their task's span.
///
/// The span that names the task on log lines is left out: a handler's outermost span then takes the current OpenTelemetry
/// context as its parent, which is that of the task's `process` span.
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
    //! Log lines in memory.

    use std::sync::{Arc, Mutex};

    use super::*;

    /// Log lines that were written.
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

    /// The subscriber of a program with these options, whose lines are captured.
    pub(crate) fn subscriber(options: &LogOptions, captured: Captured, tracer: Option<SdkTracer>) -> Dispatch {
        super::subscriber(options, Output { writer: move || captured.clone(), color: false }, tracer).unwrap()
    }
}
