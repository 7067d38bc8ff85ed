//! What happens between a program and its store of results.

use std::time::Duration;

use tracing::{Level, error, info, trace};

use super::Occurrence;
use crate::metrics::{Counter, add, count, record_batch};

const TARGET: &str = "celeriac::results";

/// The store cannot be reached. Outcomes wait, and their messages stay unacknowledged.
#[derive(Debug, Clone, Copy)]
pub struct StoreLost<'a> {
    /// What went wrong.
    pub error: &'a str,
}

impl Occurrence for StoreLost<'_> {
    fn tell(&self) {
        count(Counter::StoreLost);
        error!(target: TARGET, "the result store is gone, trying again: {}", self.error);
    }

    fn level(&self) -> Level {
        Level::ERROR
    }
}

/// The store takes outcomes again.
#[derive(Debug, Clone, Copy)]
pub struct StoreRestored {
    /// How long it was gone.
    pub after: Duration,
}

impl Occurrence for StoreRestored {
    fn tell(&self) {
        count(Counter::StoreRestored);
        info!(target: TARGET, "the result store is back after {:.3}s", self.after.as_secs_f64());
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// Outcomes were stored in one write.
#[derive(Debug, Clone, Copy)]
pub struct BatchRecorded {
    /// How many.
    pub rows: usize,
    /// How long it took.
    pub took: Duration,
}

impl Occurrence for BatchRecorded {
    fn tell(&self) {
        add(Counter::RowsRecorded, self.rows as u64);
        record_batch(self.took);
        trace!(target: TARGET, rows = self.rows, "batch recorded in {:.3}s", self.took.as_secs_f64());
    }

    fn level(&self) -> Level {
        Level::TRACE
    }
}
