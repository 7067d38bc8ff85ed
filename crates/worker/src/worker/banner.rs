//! The banner of a worker at its start.

use std::fmt;
use std::time::Duration;

use celeriac_config::duration;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::WorkerStarting;
use celeriac_topology::Prefetch;

use crate::task::definition::TaskDefinition;

/// The content of the banner.
pub(super) struct Banner<'a> {
    pub(super) name: &'a str,
    pub(super) broker_url: &'a str,
    pub(super) results_url: &'a str,
    pub(super) concurrency: usize,
    pub(super) drain_timeout: Duration,
    pub(super) queues: Vec<BannerQueue<'a>>,
    pub(super) tasks: Vec<&'a TaskDefinition>,
}

/// A queue in the banner.
pub(super) struct BannerQueue<'a> {
    pub(super) name: &'a str,
    pub(super) prefetch: Prefetch,
    pub(super) bindings: String,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Banner<'_> {
    /// Logs the content of the banner in one line.
    pub(super) fn log(&self) {
        let queues = self.queues.iter().map(|queue| format!("{} prefetch {}", queue.name, queue.prefetch));
        let tasks = self.tasks.iter().map(|task| format!("{} {}", task.name, task.kind()));
        WorkerStarting {
            name: self.name,
            version: VERSION,
            broker: self.broker_url,
            results: self.results_url,
            concurrency: self.concurrency,
            drain_timeout: self.drain_timeout,
            queues: &queues.collect::<Vec<_>>().join(", "),
            tasks: &tasks.collect::<Vec<_>>().join(", "),
        }
        .emit();
    }
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drain_timeout = duration::format(self.drain_timeout);
        writeln!(formatter, "\n {} · celeriac {VERSION}\n", self.name)?;
        writeln!(formatter, "  broker       {}", self.broker_url)?;
        writeln!(formatter, "  results      {}", self.results_url)?;
        writeln!(formatter, "  concurrency  {}, drain timeout {drain_timeout}", self.concurrency)?;
        writeln!(formatter, "\n  queues")?;
        let names =
            self.queues.iter().map(|queue| queue.name.len()).chain(self.tasks.iter().map(|task| task.name.len()));
        let width = names.max().unwrap_or_default();
        for BannerQueue { name, prefetch, bindings } in &self.queues {
            let prefetch = format!("prefetch {prefetch}");
            writeln!(formatter, "    {name:<width$}  {prefetch:<14}  {bindings}")?;
        }
        writeln!(formatter, "\n  tasks")?;
        if self.tasks.is_empty() {
            writeln!(formatter, "    none: every message goes to a dead-letter queue")?;
        }
        for task in &self.tasks {
            writeln!(formatter, "    {:<width$}  {}", task.name, task.kind())?;
        }
        Ok(())
    }
}
