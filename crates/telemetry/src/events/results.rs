//! Events between a program and its result store.

use std::time::Duration;

use crate::metrics::{BATCH_DURATION, ROWS_RECORDED, STORE_LOST, STORE_RESTORED};

const TARGET: &str = "celeriac::results";

event! {
    /// The store cannot be reached. Outcomes wait, and their messages stay unacknowledged.
    pub struct StoreLost<'a> {
        /// Error.
        error: &'a str,
    }
    log: ERROR "the result store is gone, trying again: {error}";
    count: STORE_LOST;
}

event! {
    /// The store accepts outcomes again.
    pub struct StoreRestored {
        /// Time without it.
        after: Duration,
    }
    log: INFO "the result store is back after {:.3}s", after.as_secs_f64();
    count: STORE_RESTORED;
}

event! {
    /// Outcomes were stored in one write.
    pub struct BatchRecorded {
        /// Number of them.
        rows: usize,
        /// Duration of the write.
        took: Duration,
    }
    log: TRACE { rows } "batch recorded in {:.3}s", took.as_secs_f64();
    count: ROWS_RECORDED(rows);
    time: BATCH_DURATION(took);
}
