//! Celeriac beside the bare clients it is built on: same broker, same database, same run.
//!
//! Both sides do each kind of work in turn, round after round, and the medians are compared. Client
//! CPU is that of this process, without broker and database.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod bare;
mod chord;
mod messages;
mod ours;
mod report;
mod round_trip;
mod sample;
mod telemetry;
mod wake_up;

use std::time::Duration;

use anyhow::{Context, Result};
use celeriac_config::Environment;
use celeriac_telemetry::{Instance, LogOptions, Telemetry, TelemetryOptions};
use clap::Parser;

use crate::messages::{QueueType, Stage};
use crate::report::Report;

/// Number and size of the measurements.
#[derive(Debug, Clone, Parser)]
pub(crate) struct Options {
    /// Tasks in each round
    #[arg(long, default_value_t = 20_000)]
    tasks: usize,
    /// Round trips in each round
    #[arg(long, default_value_t = 1_000)]
    trips: usize,
    /// Rounds of each kind of work
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only work whose name contains this
    #[arg(long)]
    only: Option<String>,
    /// Drains with results in the forms of telemetry, beside a drain without any
    #[arg(long)]
    telemetry: bool,
    /// One round of a form: what this process starts for --telemetry
    #[command(flatten)]
    round: telemetry::RoundOptions,
    /// Log level of Celeriac's side, such as warn or debug. Default: no logs, as on the other side
    #[arg(long)]
    log: Option<String>,
}

/// The addresses of the servers.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) amqp: String,
    pub(crate) database: String,
}

impl Servers {
    pub(crate) fn from_environment() -> Result<Self> {
        let environment = Environment::from_process();
        let server = |name: &str| {
            let found = environment.get(name).map(str::to_owned);
            found.with_context(|| format!("{name} is not set; use `cargo xtask bench`"))
        };
        Ok(Self { amqp: server("CELERIAC__BROKER__URL")?, database: server("CELERIAC__RESULTS__URL")? })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(form) = options.round.form {
        return telemetry::round(&options, form).await;
    }
    let telemetry = options.log.as_deref().map(start_logging).transpose()?;
    let servers = Servers::from_environment()?;
    // This creates the table of results, for both sides.
    ours::app(&servers, &Stage::named("celeriac", QueueType::Classic), true)?.client().await?.close().await;

    if options.telemetry {
        return telemetry::compare(&options).await;
    }
    let mut report = Report::default();
    for queue in [QueueType::Classic, QueueType::Quorum] {
        let wanted = |work: &str| options.only.as_deref().is_none_or(|only| work.contains(only));
        if wanted("submit") {
            let pairs = rounds(&options, async |stage| {
                Ok((
                    ours::submit(&servers, stage, options.tasks).await?,
                    bare::submit(&servers, stage, options.tasks).await?,
                ))
            });
            report.rates("submit", queue, &pairs(queue).await?);
        }
        for (work, results) in [("drain", false), ("drain with results", true)] {
            if wanted(work) {
                let pairs = rounds(&options, async |stage| {
                    Ok((
                        ours::drain(&servers, stage, options.tasks, results).await?,
                        bare::drain(&servers, stage, options.tasks, results).await?,
                    ))
                });
                report.rates(work, queue, &pairs(queue).await?);
            }
        }
        if wanted("chord beside group") {
            let pairs = rounds(&options, async |stage| {
                Ok((
                    chord::chord(&servers, stage, options.tasks).await?,
                    chord::group(&servers, stage, options.tasks).await?,
                ))
            });
            report.rates("chord beside group", queue, &pairs(queue).await?);
        }
        if wanted("round trip") {
            let pairs = rounds(&options, async |stage| {
                Ok((
                    round_trip::ours(&servers, stage, options.trips).await?,
                    round_trip::lapin(&servers, stage, options.trips).await?,
                ))
            });
            report.latencies("round trip beside lapin", queue, &pairs(queue).await?);
            let pairs = rounds(&options, async |stage| {
                Ok((
                    round_trip::ours(&servers, stage, options.trips).await?,
                    round_trip::database(&servers, options.trips).await?,
                ))
            });
            report.latencies("round trip beside row and NOTIFY", queue, &pairs(queue).await?);
        }
        // No message is sent, so one type of queue is enough.
        if wanted("wake-up") && queue == QueueType::Classic {
            for (work, with_row) in [("wake-up beside NOTIFY", false), ("wake-up beside row and NOTIFY", true)] {
                let pairs = rounds(&options, async |stage| {
                    Ok((
                        wake_up::ours(&servers, stage, options.trips).await?,
                        wake_up::database(&servers, with_row, options.trips).await?,
                    ))
                });
                report.latencies(work, queue, &pairs(queue).await?);
            }
        }
    }
    println!("{report}");
    report.write("target/bench/report.json")?;
    if let Some(telemetry) = telemetry {
        telemetry.shutdown(Duration::from_secs(1)).await?;
    }
    Ok(())
}

fn start_logging(level: &str) -> Result<Telemetry> {
    let log = LogOptions { level: level.to_owned(), ..LogOptions::default() };
    let options = TelemetryOptions { log, ..TelemetryOptions::default() };
    let instance = Instance { name: "bench".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    Ok(Telemetry::start(&options, &instance)?)
}

/// Runs both sides in turn, each round on a queue of its own. The first round warms up and is not
/// counted.
fn rounds<S, F>(options: &Options, both: F) -> impl AsyncFn(QueueType) -> Result<Vec<(S, S)>>
where
    F: AsyncFn(&Stage) -> Result<(S, S)>,
{
    let rounds = options.rounds;
    async move |queue| {
        let mut pairs = Vec::with_capacity(rounds);
        for round in 0..=rounds {
            let stage = Stage::new(queue);
            let pair = both(&stage).await?;
            if round > 0 {
                pairs.push(pair);
            }
        }
        Ok(pairs)
    }
}
