//! The cost of telemetry: a drain with results in several forms, beside one without telemetry.
//!
//! A process has one telemetry for its whole life, so each round of a form is a process of its own.
//! The forms take turns, round after round. This process receives the exports and reads the page of
//! metrics, so that the CPU of that is not the worker's. It shares the machine with it.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use celeriac::events::EventStream;
use celeriac::prelude::*;
use celeriac_config::Environment;
use celeriac_protocol::{HeaderMap, TaskHeaders, TaskState};
use celeriac_telemetry::events::worker::task::{OutcomeRecorded, TaskReceived, TaskStarted, TaskSucceeded};
use celeriac_telemetry::{Instance, LogOptions, ProcessInfo, ProcessSpan, Telemetry, TelemetryOptions, TraceOptions};
use celeriac_tests::{Collector, probe};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{MissedTickBehavior, interval};

use crate::messages::{Messages, QueueType, Stage};
use crate::report::{median, write_json};
use crate::sample::{Sample, cpu_seconds};
use crate::{Options, Servers, ours};

/// A form of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// None of it, as in the drain of the other benchmarks.
    Off,
    /// All traces are kept.
    Traces,
    /// One trace in a hundred is kept.
    SampledTraces,
    /// The page of metrics, read each second.
    Metrics,
    /// A row for each start: `results.track: started`.
    Started,
    /// A task that logs three lines, to a pipe.
    Lines,
    /// The same lines, kept in the database too: `results.logs: 64KiB`.
    KeptLines,
    /// Celery's monitors are told of each task, and this process is one: `worker.events: all`.
    Events,
}

impl Form {
    const ALL: [Self; 8] = [
        Self::Off,
        Self::Traces,
        Self::SampledTraces,
        Self::Metrics,
        Self::Started,
        Self::Lines,
        Self::KeptLines,
        Self::Events,
    ];

    /// Share of kept traces, if traces are exported.
    fn sampled(self) -> Option<f64> {
        match self {
            Self::Traces => Some(1.0),
            Self::SampledTraces => Some(0.01),
            _ => None,
        }
    }

    fn logs(self) -> bool {
        matches!(self, Self::Lines | Self::KeptLines)
    }

    fn task(self) -> &'static str {
        if self.logs() { "bench.logged" } else { "bench.nothing" }
    }

    fn builder(self, servers: &Servers, stage: &Stage) -> celeriac::Builder {
        let builder = ours::builder(servers, stage, true).tasks(tasks![logged]);
        match self {
            Self::Started => builder.set("results.track", "started"),
            Self::KeptLines => builder.set("results.logs", "64KiB"),
            Self::Events => builder.set("worker.events", "all"),
            _ => builder,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Off => "off",
            Self::Traces => "traces, all kept",
            Self::SampledTraces => "traces, 1 % kept",
            Self::Metrics => "metrics, read each second",
            Self::Started => "track: started",
            Self::Lines => "three log lines",
            Self::KeptLines => "three log lines, kept",
            Self::Events => "events, one monitor",
        })
    }
}

/// The task of the forms with log lines.
#[task(name = "bench.logged")]
async fn logged(ctx: TaskContext) -> TaskResult<()> {
    tracing::info!(order = 1299, "charging");
    tracing::info!(order = 1299, cents = 4_200, "charged");
    tracing::info!(order = 1299, "receipt sent");
    ctx.state::<ours::Counter>()?.count();
    Ok(())
}

/// Least tasks of the drain that warms up.
const LEAST: usize = 200;

/// The settings of one round.
#[derive(Debug, Clone, Args)]
pub(crate) struct RoundOptions {
    #[arg(long, hide = true)]
    pub(crate) form: Option<Form>,
    #[arg(long, hide = true, default_value = "classic")]
    queue: QueueType,
    /// URL of the collector
    #[arg(long, hide = true)]
    collector: Option<String>,
    /// Address of the page of metrics
    #[arg(long, hide = true)]
    listen: Option<String>,
}

/// Runs one round in this process, and prints its sample.
pub(crate) async fn round(options: &Options, form: Form) -> Result<()> {
    let servers = Servers::from_environment()?;
    let RoundOptions { queue, collector, listen, .. } = options.round.clone();
    let telemetry = TelemetryOptions {
        otlp_endpoint: collector,
        listen,
        traces: TraceOptions { sample_ratio: form.sampled().unwrap_or(1.0), ..TraceOptions::default() },
        log: LogOptions { level: if form.logs() { "info" } else { "off" }.to_owned(), ..LogOptions::default() },
        ..TelemetryOptions::default()
    };
    let instance = Instance { name: "bench".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let is_on = form.logs() || telemetry.otlp_endpoint.is_some() || telemetry.listen.is_some();
    let telemetry = if is_on { Some(Telemetry::start(&telemetry, &instance)?) } else { None };

    let messages = Messages { count: options.tasks, task: form.task(), sampled: form.sampled() };
    // The first drain warms up, and leaves no span for the flush of the second one.
    let first =
        Messages { count: options.tasks.div_ceil(10).max(LEAST), sampled: messages.sampled.map(|_| 0.0), ..messages };
    let stage = Stage::new(queue);
    ours::drain_with(&servers, &stage, first, form.builder(&servers, &stage), async || Ok(())).await?;
    let stage = Stage::new(queue);
    let flush = async || match telemetry {
        Some(telemetry) => Ok(telemetry.shutdown(Duration::from_secs(10)).await?),
        None => Ok(()),
    };
    let sample = ours::drain_with(&servers, &stage, messages, form.builder(&servers, &stage), flush).await?;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// A round, as this process sees it.
#[derive(Debug, Clone, Copy)]
struct Round {
    sample: Sample,
    /// Microseconds of this process for each task.
    receiver_us: f64,
    spans: usize,
    pages: u64,
    events: u64,
}

/// Measures all forms on both types of queues, and prints them beside that without telemetry.
pub(crate) async fn compare(options: &Options) -> Result<()> {
    let mut rows = Vec::new();
    for queue in [QueueType::Classic, QueueType::Quorum] {
        let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); Form::ALL.len()];
        for _ in 0..options.rounds {
            for (form, rounds) in Form::ALL.into_iter().zip(&mut rounds) {
                rounds.push(measure(options, form, queue).await?);
            }
        }
        rows.extend(Row::all(queue, &rounds, options.tasks));
    }
    println!(
        "| telemetry | queue | rate /s | off /s | ratio | client µs | off µs | receiver µs | spans a task | pages | events a task |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for row in &rows {
        println!("{row}");
    }
    let client_us = rows.first().map_or(f64::NAN, |row| row.off_client_us);
    let own_us = calls_without_telemetry();
    println!(
        "\noff: telemetry's own calls for one task take {own_us:.3} µs, {:.2} % of {client_us:.1} µs of the client",
        own_us / client_us * 100.0
    );
    write_json("target/bench/telemetry.json", &rows)
}

/// Runs a round in a process of its own.
async fn measure(options: &Options, form: Form, queue: QueueType) -> Result<Round> {
    let servers = Servers::from_environment()?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("health");
    let mut command = Command::new(std::env::current_exe()?);
    let name = form.to_possible_value().context("a form without a name")?;
    command.args(["--tasks", &options.tasks.to_string(), "--form", name.get_name(), "--queue", &queue.to_string()]);
    let collector = Collector::start().await;
    if form.sampled().is_some() {
        command.args(["--collector", &collector.url()]);
    }
    if form == Form::Metrics {
        command.args(["--listen", &format!("unix:{}", socket.display())]);
    }
    let monitor = match form {
        Form::Events => Some(
            Celeriac::builder()
                .environment(Environment::default())
                .set("broker.url", servers.amqp.as_str())
                .set("results.url", "none")
                .build()?
                .client()
                .await?,
        ),
        _ => None,
    };
    let stream = match &monitor {
        Some(client) => Some(client.events().await?),
        None => None,
    };
    let events = AtomicU64::new(0);
    let pages = AtomicU64::new(0);
    let before = cpu_seconds()?;
    let output = tokio::select! {
        output = command.stdin(Stdio::null()).kill_on_drop(true).output() => output?,
        never = read_pages(&socket, &pages) => match never {},
        never = count_events(stream, &events) => match never {},
    };
    if let Some(client) = monitor {
        client.close().await;
    }
    let receiver_us = (cpu_seconds()? - before) / options.tasks as f64 * 1e6;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rev().find(|line| line.starts_with("Error")).unwrap_or_default();
    ensure!(output.status.success(), "a round of `{form}` on a {queue} queue failed: {} {said}", output.status);
    let sample = serde_json::from_slice(&output.stdout).context("a round without a sample")?;
    Ok(Round {
        sample,
        receiver_us,
        spans: collector.spans().len(),
        pages: pages.load(Ordering::Relaxed),
        events: events.load(Ordering::Relaxed),
    })
}

/// Reads the page of metrics each second, once there is one.
async fn read_pages(socket: &Path, pages: &AtomicU64) -> std::convert::Infallible {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some((200, _)) = probe::page(socket, "/metrics").await {
            pages.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts the events of tasks, as a monitor does.
async fn count_events(stream: Option<EventStream>, events: &AtomicU64) -> std::convert::Infallible {
    if let Some(mut stream) = stream {
        while let Some(event) = stream.next().await {
            events.fetch_add(u64::from(event.uuid().is_some()), Ordering::Relaxed);
        }
    }
    std::future::pending().await
}

/// A form on one type of queue: medians, and those without telemetry.
#[derive(Debug, Serialize)]
struct Row {
    telemetry: String,
    queue: String,
    rate: f64,
    off_rate: f64,
    ratio: f64,
    client_us: f64,
    off_client_us: f64,
    receiver_us: f64,
    spans_a_task: f64,
    pages: f64,
    events_a_task: f64,
}

impl Row {
    /// Returns the rows of one type of queue. The first form is the one without telemetry.
    fn all(queue: QueueType, rounds: &[Vec<Round>], tasks: usize) -> Vec<Self> {
        let of = |rounds: &[Round], pick: &dyn Fn(&Round) -> f64| median(rounds.iter().map(pick));
        let Some(off) = rounds.first() else { return Vec::new() };
        let off_rate = of(off, &|round| round.sample.rate);
        let off_client_us = of(off, &|round| round.sample.client_us);
        let row = |(form, rounds): (Form, &Vec<Round>)| {
            let rate = of(rounds, &|round| round.sample.rate);
            Self {
                telemetry: form.to_string(),
                queue: queue.to_string(),
                rate,
                off_rate,
                ratio: rate / off_rate,
                client_us: of(rounds, &|round| round.sample.client_us),
                off_client_us,
                receiver_us: of(rounds, &|round| round.receiver_us),
                spans_a_task: of(rounds, &|round| round.spans as f64 / tasks as f64),
                pages: of(rounds, &|round| round.pages as f64),
                events_a_task: of(rounds, &|round| round.events as f64 / tasks as f64),
            }
        };
        Form::ALL.into_iter().zip(rounds).map(row).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { telemetry, queue, rate, off_rate, ratio, client_us, off_client_us, receiver_us, .. } = self;
        let Self { spans_a_task, pages, events_a_task, .. } = self;
        write!(
            formatter,
            "| {telemetry} | {queue} | {rate:.0} | {off_rate:.0} | {ratio:.2} | {client_us:.1} | {off_client_us:.1} \
             | {receiver_us:.1} | {spans_a_task:.2} | {pages:.0} | {events_a_task:.2} |"
        )
    }
}

/// Returns the microseconds that the calls of a successful task take in this process, which has no
/// telemetry.
///
/// No build has no telemetry, so these calls are the whole difference to one.
fn calls_without_telemetry() -> f64 {
    const TASKS: u32 = 200_000;
    let (worker, queue): (Arc<str>, Arc<str>) = ("celeriac@bench".into(), "bench".into());
    let headers = HeaderMap::default();
    let (task, id) = ("bench.nothing", "0198b2a4-5c3e-7000-8000-000000000001");
    let begun = Instant::now();
    let task_headers = TaskHeaders::default();
    for _ in 0..TASKS {
        let info = ProcessInfo {
            task,
            id,
            queue: &queue,
            exchange: "",
            routing_key: &queue,
            attempt: 1,
            delay: None,
            redelivered: false,
            delivery_tag: 1,
            worker: &worker,
            kept_logs: None,
            monitors: None,
        };
        let span = ProcessSpan::start(&headers, &info);
        let received =
            TaskReceived { task, id, queue: &queue, redelivered: false, headers: &task_headers, arguments: None };
        span.emit(&received);
        span.emit(&TaskStarted { task, id, queue: &queue, attempt: 1, wait: None, arguments: None });
        let _ = futures::FutureExt::now_or_never(span.run(async {}));
        span.emit(&TaskSucceeded { task, id, result: "null", runtime: Duration::ZERO });
        span.emit(&OutcomeRecorded { task, id, state: TaskState::Success });
        span.record_settlement(task, id, "ack");
        std::hint::black_box(&span);
        span.end(TaskState::Success, None);
    }
    begun.elapsed().as_secs_f64() / f64::from(TASKS) * 1e6
}
