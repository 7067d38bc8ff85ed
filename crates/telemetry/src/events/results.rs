//! Events between a program and its result store.

use std::time::Duration;

use crate::metrics::{
    BATCH_DURATION, BATCH_SIZE, ROWS_RECORDED, SENT_TASKS_NOT_RECORDED, STORE_FAILED_OVER, STORE_LOST, STORE_RESTORED,
};

const TARGET: &str = "celeriac::results";

event! {
    /// The store cannot be reached, or takes no outcomes. They wait, and their messages stay
    /// unacknowledged.
    pub struct StoreLost<'a> {
        /// The store, without password.
        store: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "result store lost" { store, error };
    count: STORE_LOST;
}

event! {
    /// The store is still unavailable. Logged each minute.
    pub struct StoreStillLost<'a> {
        /// The store, without password.
        store: &'a str,
        /// Time without it.
        after: Duration,
        /// The latest error.
        error: &'a str,
    }
    log: WARN "result store still lost" { store, after_seconds = after.as_secs_f64(), error };
}

event! {
    /// The store is available again.
    pub struct StoreRestored<'a> {
        /// The store, without password.
        store: &'a str,
        /// Time without it.
        after: Duration,
    }
    log: INFO "result store restored" { store, after_seconds = after.as_secs_f64() };
    count: STORE_RESTORED;
}

event! {
    /// The clock of this machine differs from that of the store, which decides. Logged again if the
    /// difference changes, and each hour.
    pub struct ClockDiffers<'a> {
        /// The store, without password.
        store: &'a str,
        /// `ahead` or `behind`: this machine's clock.
        direction: &'a str,
        /// The difference.
        difference: Duration,
    }
    log: WARN "machine clock differs" { store, direction, difference_seconds = difference.as_secs_f64() };
}

event! {
    /// The clock of this machine is right again.
    pub struct ClockAgrees<'a> {
        /// The store, without password.
        store: &'a str,
    }
    log: INFO "machine clock agrees" { store };
}

event! {
    /// A newer version of Celeriac has migrated the tables. This program goes on.
    pub struct SchemaNewer<'a> {
        /// The store, without password.
        store: &'a str,
        /// Version of the tables.
        version: i64,
        /// Newest version that this program knows.
        known: i64,
    }
    log: INFO "tables are newer" { store, version, known };
}

event! {
    /// Another server has taken the place of the store's server: a standby was promoted, a backup
    /// restored, or another cluster put there. It lacks what was committed before and did not reach
    /// it.
    pub struct StoreFailedOver<'a> {
        /// The store, without password.
        store: &'a str,
        /// Cluster and timeline of the server before.
        from: &'a str,
        /// Cluster and timeline of the present server.
        to: &'a str,
    }
    log: WARN "result store failed over" { store, from, to };
    count: STORE_FAILED_OVER;
}

event! {
    /// Work waits for the store, of which [`StoreLost`] tells.
    pub struct StoreAwaited<'a> {
        /// The work.
        work: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: DEBUG "result store awaited" { work, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// Outcomes were stored in one write.
    pub struct BatchRecorded {
        /// Number of outcomes.
        rows: usize,
        /// Duration of the write.
        took: Duration,
    }
    log: TRACE "batch recorded" { rows, took_seconds = took.as_secs_f64() };
    count: ROWS_RECORDED(rows);
    time: BATCH_DURATION(took);
    size: BATCH_SIZE(rows);
}

event! {
    /// The rows of sent tasks were not written, because the store is away or refuses them. The
    /// tasks are on their queues. Logged once, then each minute with the number since.
    pub struct SentTasksNotRecorded<'a> {
        /// Number of tasks.
        tasks: usize,
        /// The reason.
        error: &'a str,
    }
    log: WARN "sent tasks not recorded" { tasks, error };
    count: SENT_TASKS_NOT_RECORDED(tasks);
}

event! {
    /// Other processes were not notified of outcomes. Their waits find the rows at their next
    /// check.
    pub struct OutcomesNotAnnounced<'a> {
        /// Error.
        error: &'a str,
    }
    log: DEBUG "outcomes not announced" { error };
}

event! {
    /// Old results could not be deleted. The next deletion tries again.
    pub struct SweepFailed<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "old results not deleted" { error };
}

event! {
    /// The connection for notifications of outcomes was lost. Another attempt follows.
    pub struct NotificationsLost<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "result notifications lost" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// Revocations cannot be read. No task starts until a read succeeds.
    pub struct RevocationsUnreadable<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "revocations unreadable" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A read of revocations took longer than it is valid. Tasks start late.
    pub struct RevocationsSlow {
        /// Duration of the read.
        took: Duration,
        /// Longest time that a read is valid.
        limit: Duration,
    }
    log: WARN "revocations read slowly" { took_seconds = took.as_secs_f64(), limit_seconds = limit.as_secs_f64() };
}

event! {
    /// The starts of redelivered tasks cannot be counted. Redelivered tasks start after a count
    /// succeeds.
    pub struct CrashLogUnavailable<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "crash log unavailable" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A chord is ended although members have not ended: its deadline has passed, or its sender is
    /// gone.
    pub struct ChordOverdue<'a> {
        /// The id of its group.
        chord: &'a str,
        /// The queue of the message that ends it.
        queue: &'a str,
    }
    log: WARN "chord overdue" { chord, queue };
}

event! {
    /// The ends of members of chords cannot be counted. Their messages stay unacknowledged.
    pub struct JoinsUnavailable<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "joins unavailable" { retry_in_seconds = retry_in.as_secs_f64(), error };
}
