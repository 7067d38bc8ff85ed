//! Events of the steps after a run: its row, its commit, its follow-ups and its reply.

use std::time::Duration;

use crate::metrics::SENDS_FAILED;

const TARGET: &str = "celeriac::worker";

event! {
    /// A follow-up, a next attempt or a dead letter could not be published yet.
    pub struct FollowUpFailed<'a> {
        /// Task name of the follow-up.
        task: Option<&'a str>,
        /// Task id of the follow-up.
        id: Option<&'a str>,
        /// The destination exchange.
        exchange: &'a str,
        /// The routing key.
        routing_key: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "follow-up not sent" { task, id, exchange, routing_key, error };
    count: SENDS_FAILED;
}

event! {
    /// A task waits for the broker, whose loss is logged once for the whole process.
    pub struct TaskAwaitsBroker<'a> {
        /// Task name.
        task: Option<&'a str>,
        /// Task id.
        id: Option<&'a str>,
        /// The part of its work that needs the broker.
        work: &'a str,
        /// Error.
        error: &'a str,
    }
    log: DEBUG "task awaits broker" { task, id, work, error };
    count: SENDS_FAILED;
}

event! {
    /// The outcome of a task could not be recorded. Its message returns to its queue.
    pub struct OutcomeNotRecorded<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "outcome not recorded" { task, id, error };
}

event! {
    /// The store refuses the row of a task and the row of its failure. Only the dead letter
    /// remains.
    pub struct FailureNotRecorded<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Error.
        error: &'a str,
    }
    log: ERROR "failure not recorded" { task, id, error };
}

event! {
    /// The store refuses the row of a later step of a chain, and the step never runs.
    pub struct StepNotRecorded<'a> {
        /// Task name of the step.
        task: &'a str,
        /// Task id of the step.
        id: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "chain step not recorded" { task, id, error };
}

event! {
    /// The recorded outcome of a task cannot be read. Another attempt follows.
    pub struct OutcomeNotRead<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "outcome not read" { task, id, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A task waits for the store, whose loss is logged once for the whole process.
    pub struct TaskAwaitsStore<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The part of its work that needs the store.
        work: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: DEBUG "task awaits result store" { task, id, work, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// The transaction of a task cannot begin. Another attempt follows.
    pub struct TransactionNotStarted<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "transaction not started" { task, id, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// The database was lost during the commit of a task. The worker then reads if it was
    /// committed.
    pub struct CommitUnknown<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "commit unknown" { task, id, error };
}

event! {
    /// The transaction of a task could not be committed. The task runs again.
    pub struct CommitFailed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time until the next run.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "commit failed" { task, id, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A reply can never be sent. A caller with a result store reads the outcome there. Another
    /// caller waits until its deadline.
    pub struct ReplyDropped<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The queue of the reply.
        queue: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "reply dropped" { task, id, queue, error };
}

event! {
    /// A reply cannot be sent. Another attempt follows.
    pub struct ReplyNotSent<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The queue of the reply.
        queue: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "reply not sent" { task, id, queue, retry_in_seconds = retry_in.as_secs_f64(), error };
}
