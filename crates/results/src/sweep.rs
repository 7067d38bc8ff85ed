//! Deletes old rows, and adds up counts of outcomes.

use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{StoreAwaited, SweepFailed};
use tokio::time::sleep;

use crate::backend::Backend;
use crate::error::Result;
use crate::options::{ResultsOptions, StatsOptions};

/// Rows changed in one statement. More would delay writers.
const PIECE: u32 = 1_000;

/// Shortest and longest time between two sweeps.
const EVERY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// Sweeps for which a process holds the lease. Another one takes over after a process has died.
const HELD: u32 = 3;

/// Times that rows are kept. Zero keeps them for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    outcomes: Duration,
    /// The shortest time of any outcome.
    shortest: Duration,
    audit: Duration,
    stats: StatsOptions,
}

impl Retention {
    pub(crate) fn new(options: &ResultsOptions) -> Self {
        let rules = options.retention_rules.iter().map(|rule| rule.keep);
        let shortest = rules.chain([options.retention]).filter(|keep| !keep.is_zero()).min().unwrap_or_default();
        let (outcomes, audit, stats) = (options.retention, options.audit_retention, options.stats);
        Self { outcomes, shortest, audit, stats }
    }

    fn every(&self) -> Duration {
        if self.shortest.is_zero() { EVERY.1 } else { (self.shortest / 20).clamp(EVERY.0, EVERY.1) }
    }
}

/// Deletes rows after their retention time, and expired revocations, crash records and runs, at
/// intervals, until it is dropped. On Postgres it also adds up counts of outcomes.
///
/// Of all workers on Postgres, the one that holds the lease does this. Two of them, after a lease
/// has expired, skip each other's rows.
pub(crate) async fn sweep(backend: &dyn Backend, retention: Retention) {
    let every = retention.every();
    loop {
        sleep(every).await;
        if let Err(error) = sweep_once(backend, retention, every * HELD).await {
            let told = error.to_string();
            match error.is_connection_lost() {
                true => StoreAwaited { work: "sweep", retry_in: every, error: &told }.emit(),
                false => SweepFailed { error: &told }.emit(),
            }
        }
    }
}

async fn sweep_once(backend: &dyn Backend, retention: Retention, lease: Duration) -> Result<()> {
    let Retention { outcomes, shortest: _, audit, stats } = retention;
    if let Some(postgres) = backend.postgres() {
        if !postgres.claim_sweep(lease).await? {
            return Ok(());
        }
        postgres.compact_stats(&stats, PIECE).await?;
    }
    while backend.sweep_revocations(PIECE).await? == u64::from(PIECE) {}
    while backend.sweep_crashes(PIECE).await? == u64::from(PIECE) {}
    while backend.sweep_runs(PIECE).await? == u64::from(PIECE) {}
    if let Some(postgres) = backend.postgres().filter(|postgres| postgres.has_retention_rules()) {
        postgres.sweep_by_rules().await?;
    } else if !outcomes.is_zero() {
        while backend.sweep(outcomes, PIECE).await? == u64::from(PIECE) {}
    }
    if !outcomes.is_zero() {
        while backend.sweep_joins(outcomes, PIECE).await? > 0 {}
        while backend.sweep_groups(outcomes, PIECE).await? == u64::from(PIECE) {}
    }
    if !audit.is_zero() {
        while backend.sweep_audit(audit, PIECE).await? == u64::from(PIECE) {}
    }
    Ok(())
}
