//! Events between the outbox and the broker.

use std::time::Duration;

use crate::metrics::{MESSAGES_RELAYED, RELAY_LAG, RELAYS_FAILED, RETRIES_OVERDUE};

const TARGET: &str = "celeriac::relay";

event! {
    /// This process relays the outbox.
    pub struct RelayStarted;
    log: INFO "relay started";
}

event! {
    /// Messages of the outbox are on their queues.
    pub struct MessagesRelayed {
        /// Number of messages.
        messages: usize,
        /// Time that the oldest of these messages was in the outbox.
        lag: Duration,
    }
    log: DEBUG "messages relayed" { messages, lag_seconds = lag.as_secs_f64() };
    count: MESSAGES_RELAYED(messages);
    time: RELAY_LAG(lag);
}

event! {
    /// A message of the outbox could not be sent. It stays there, and another attempt follows.
    pub struct RelayFailed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Error.
        error: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
    }
    log: WARN "message not relayed" { task, id, retry_in_seconds = retry_in.as_secs_f64(), error };
    count: RELAYS_FAILED { "celeriac.task.name" = task };
}

event! {
    /// The broker accepts no messages of the outbox. Another attempt follows.
    pub struct RelayPaused<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "relay paused" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// This process stopped relaying, because it lost the database. Another attempt follows.
    pub struct RelayInterrupted<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "relay interrupted" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// The overdue retries were counted.
    pub struct OverdueRetriesCounted {
        /// Number of tasks.
        retries: u64,
    }
    log: DEBUG "overdue retries counted" { retries };
    gauge: RETRIES_OVERDUE(retries);
}

event! {
    /// Tasks wait for their next attempt for too long. Their messages may be lost.
    pub struct RetriesOverdue {
        /// Number of tasks.
        retries: u64,
        /// Time that the oldest is overdue.
        oldest: Duration,
    }
    log: WARN "retries overdue" { retries, oldest_seconds = oldest.as_secs_f64() };
}

event! {
    /// The overdue retries could not be counted. Another attempt follows.
    pub struct OverdueRetriesNotCounted<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "overdue retries not counted" { error };
}

event! {
    /// Exchanges and queues that messages of the outbox need could not be declared.
    pub struct RelayTopologyNotDeclared<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "topology not declared" { error };
}
