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
    log: WARN "result store lost" { error };
    count: STORE_LOST;
}

event! {
    /// The store accepts outcomes again.
    pub struct StoreRestored {
        /// Time without it.
        after: Duration,
    }
    log: INFO "result store restored" { after_seconds = after.as_secs_f64() };
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
    log: TRACE "batch recorded" { rows, took_seconds = took.as_secs_f64() };
    count: ROWS_RECORDED(rows);
    time: BATCH_DURATION(took);
}

event! {
    /// Outcomes were not announced to those who wait for them in other processes. They find them a
    /// little later.
    pub struct OutcomesNotAnnounced<'a> {
        /// Error.
        error: &'a str,
    }
    log: DEBUG "outcomes not announced" { error };
}

event! {
    /// Old results could not be deleted. The next sweep tries again.
    pub struct SweepFailed<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "old results not deleted" { error };
}

event! {
    /// Outcomes cannot be waited for. Another attempt follows.
    pub struct NotificationsLost<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "result notifications lost" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// Revocations cannot be read. No task starts until they can.
    pub struct RevocationsUnreadable<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "revocations unreadable" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// Reading revocations took longer than they hold. Tasks start late.
    pub struct RevocationsSlow {
        /// Time it took.
        took: Duration,
        /// Time for which they hold.
        limit: Duration,
    }
    log: WARN "revocations read slowly" { took_seconds = took.as_secs_f64(), limit_seconds = limit.as_secs_f64() };
}

event! {
    /// The starts of tasks that were delivered before cannot be counted. None of them starts until
    /// they can.
    pub struct CrashLogUnavailable<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "crash log unavailable" { retry_in_seconds = retry_in.as_secs_f64(), error };
}
