//! The banner of a worker at its start.

use std::fmt;
use std::time::Duration;

use celeriac_topology::Prefetch;

use crate::task::definition::TaskDefinition;

/// The content of the banner.
pub(super) struct Banner<'a> {
    pub(super) name: &'a str,
    pub(super) broker_url: &'a str,
    pub(super) results_url: &'a str,
    pub(super) concurrency: usize,
    pub(super) prefetch: Prefetch,
    pub(super) drain: Duration,
    pub(super) queues: Vec<(&'a str, String)>,
    pub(super) tasks: Vec<&'a TaskDefinition>,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "\n {} · celeriac {}\n", self.name, env!("CARGO_PKG_VERSION"))?;
        writeln!(formatter, "  broker       {}", self.broker_url)?;
        writeln!(formatter, "  results      {}", self.results_url)?;
        writeln!(formatter, "  concurrency  {}, prefetch {}, drain {:?}", self.concurrency, self.prefetch, self.drain)?;
        writeln!(formatter, "\n  queues")?;
        for (queue, bindings) in &self.queues {
            writeln!(formatter, "    {queue:<24} {bindings}")?;
        }
        writeln!(formatter, "\n  tasks")?;
        if self.tasks.is_empty() {
            writeln!(formatter, "    none: every message will go to a dead-letter queue")?;
        }
        for task in &self.tasks {
            let kind = if task.is_blocking() { "blocking" } else { "async" };
            writeln!(formatter, "    {:<24} {kind}", task.name)?;
        }
        Ok(())
    }
}
