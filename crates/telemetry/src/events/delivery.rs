//! Events of deliveries that a worker holds for long.

use std::time::Duration;

const TARGET: &str = "celeriac::delivery";

event! {
    /// A task runs for so long that its message returned to its queue. The message waits there
    /// until the task has ended, and its delivery then sends the follow-ups.
    pub struct LongRunReturned<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The queue.
        queue: &'a str,
        /// Time since the arrival of the delivery.
        held: Duration,
    }
    log: INFO "running task returned" { task, id, queue, held_seconds = held.as_secs_f64() };
}

event! {
    /// A task was delivered again while a worker runs it. Its message returns to its queue.
    pub struct AttemptRunsElsewhere<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The worker that runs it.
        worker: &'a str,
    }
    log: DEBUG "task already runs" { task, id, worker };
    span: "already running" { "celeriac.worker.running" = worker };
}

event! {
    /// A task runs for half of RabbitMQ's `consumer_timeout`, and there is no result store. When
    /// the time is over, RabbitMQ delivers it again, and it runs twice.
    pub struct ConsumerTimeoutNear<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The queue.
        queue: &'a str,
        /// Time since the arrival of the delivery.
        held: Duration,
        /// RabbitMQ's `consumer_timeout`.
        consumer_timeout: Duration,
    }
    log: WARN "consumer timeout near" {
        task, id, queue, held_seconds = held.as_secs_f64(), consumer_timeout_seconds = consumer_timeout.as_secs_f64(),
    };
}

event! {
    /// The record of a running task cannot be written or read. Another attempt follows.
    pub struct RunLogUnavailable<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "run log unavailable" { task, id, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// Messages waited in the worker for so long that they returned to their queue. They have not
    /// started.
    pub struct DeliveriesReturned<'a> {
        /// The queue.
        queue: &'a str,
        /// Number of messages.
        returned: usize,
        /// Time for which they waited at least.
        waited: Duration,
    }
    log: WARN "waiting tasks returned" { queue, returned, waited_seconds = waited.as_secs_f64() };
}
