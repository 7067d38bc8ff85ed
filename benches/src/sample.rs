//! One measurement: time, and the CPU that this process used.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Clock ticks in `/proc`, which Linux fixes at 100 a second for all programs.
const TICKS_A_SECOND: f64 = 100.0;

/// The cost of one kind of work for one side.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    /// Microseconds of client CPU for each task.
    pub(crate) client_us: f64,
}

/// A measurement in progress.
#[derive(Debug)]
pub(crate) struct Watch {
    begun: Instant,
    cpu: f64,
}

impl Watch {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { cpu: cpu_seconds()?, begun: Instant::now() })
    }

    pub(crate) fn stop(self, tasks: usize) -> Result<Sample> {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let tasks = tasks as f64;
        Ok(Sample { rate: tasks / elapsed, client_us: (cpu_seconds()? - self.cpu) / tasks * 1e6 })
    }
}

/// Latencies of a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) client_us: f64,
}

impl Latency {
    pub(crate) fn of(mut trips: Vec<Duration>, watch: Watch) -> Result<Self> {
        trips.sort_unstable();
        let at = |share: usize| trips.get(trips.len() * share / 100).copied().context("a series without trips");
        Ok(Self { p50: at(50)?, p99: at(99)?, client_us: watch.stop(trips.len())?.client_us })
    }
}

/// Returns the CPU time of this process, user and system.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program may contain spaces; the fields after its closing parenthesis do not.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("/proc/self/stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}
