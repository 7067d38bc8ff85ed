//! Events of a worker itself.
//!
//! - `task`: the tasks that it runs;
//! - `completion`: the steps after a run;
//! - `control`: remote control.

pub mod completion;
pub mod control;
pub mod task;

use std::time::Duration;

use crate::metrics::PREFETCH_CHANGES;

const TARGET: &str = "celeriac::worker";

event! {
    /// A worker starts. The line has the fields of the banner, and replaces it if log lines are
    /// JSON.
    pub struct WorkerStarting<'a> {
        /// The worker's name.
        name: &'a str,
        /// Version of Celeriac.
        version: &'a str,
        /// The broker, without password.
        broker: &'a str,
        /// The result store, without password.
        results: &'a str,
        /// Number of tasks that run at a time.
        concurrency: usize,
        /// Time that running tasks have to finish after a stop.
        drain_timeout: Duration,
        /// The queues that it consumes, with their prefetch.
        queues: &'a str,
        /// The registered tasks, with their kind.
        tasks: &'a str,
    }
    log: INFO "worker starting" {
        name, version, broker, results, concurrency, drain_timeout_seconds = drain_timeout.as_secs_f64(), queues, tasks,
    };
}

event! {
    /// A worker consumes its queues.
    pub struct WorkerOnline<'a> {
        /// The worker's name.
        name: &'a str,
        /// The queues that it consumes.
        queues: &'a [String],
        /// Number of tasks that run at a time.
        concurrency: usize,
        /// Number of registered tasks.
        tasks: usize,
    }
    log: INFO "worker ready" { name, queues = queues.join(","), concurrency, tasks };
}

event! {
    /// Another worker consumes a queue that belongs to the name of this one.
    pub struct WorkerNameShared<'a> {
        /// The name of both workers.
        name: &'a str,
        /// The queue. Each of its messages reaches one of the workers.
        queue: &'a str,
    }
    log: WARN "worker name in use" { name, queue };
}

event! {
    /// A worker changes the prefetch of a queue, because of the use of its slots.
    pub struct PrefetchChanged<'a> {
        /// The queue.
        queue: &'a str,
        /// Prefetch before.
        from: u16,
        /// Prefetch from now on.
        to: u16,
        /// Mean time that a task of the queue occupies a slot, running tasks included.
        runtime: Duration,
        /// Reason.
        reason: &'a str,
    }
    log: INFO "prefetch changed" { queue, from, to, reason, runtime_seconds = runtime.as_secs_f64() };
    count: PREFETCH_CHANGES { "celeriac.queue" = queue };
}

event! {
    /// A worker stops consuming, and finishes its running tasks.
    pub struct WorkerStopping {
        /// Number of running tasks.
        running: usize,
        /// Time that they have to finish.
        drain_timeout: Duration,
    }
    log: INFO "worker stopping" { running, drain_timeout_seconds = drain_timeout.as_secs_f64() };
}

event! {
    /// A worker has ended.
    pub struct WorkerOffline<'a> {
        /// The worker's name.
        name: &'a str,
        /// Number of interrupted tasks.
        interrupted: usize,
    }
    log: INFO "worker stopped" { name, interrupted };
}

event! {
    /// Exchanges and queues that a follow-up needs could not be declared. Another attempt follows.
    pub struct TopologyNotDeclared<'a> {
        /// Error.
        error: &'a str,
    }
    log: WARN "topology not declared" { error };
}

event! {
    /// The worker cannot consume its queues. Another attempt follows.
    pub struct ConsumersNotStarted<'a> {
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "consumers not started" { retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// The system does not let the program handle signals. Only SIGKILL ends it.
    pub struct SignalsUnavailable;
    log: ERROR "signals unavailable";
}

event! {
    /// The broker did not confirm the last settlements. It redelivers those messages.
    pub struct SettlementsUnconfirmed;
    log: WARN "settlements unconfirmed";
}

event! {
    /// Blocking tasks still run. The process ends without them.
    pub struct BlockingTasksLeft {
        /// Number of these tasks.
        tasks: usize,
    }
    log: WARN "blocking tasks left" { tasks };
}

event! {
    /// A service of the process ended before its stop, usually by a panic. A worker then stops.
    pub struct ServiceEnded<'a> {
        /// The service.
        service: &'a str,
        /// Message of the panic, or another reason.
        error: &'a str,
    }
    log: ERROR "service ended" { service, error };
}
