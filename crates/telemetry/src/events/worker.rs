//! Events of tasks and of the worker that runs them.

use std::time::Duration;

use crate::metrics::{
    MESSAGES_CONSUMED, MESSAGES_DEAD_LETTERED, PREFETCH_CHANGES, PROCESS_DURATION, SENDS_FAILED, TASKS_FINISHED,
    TASKS_INTERRUPTED, TASKS_RETRIED, TASKS_SKIPPED, TASKS_STARTED,
};
use celeriac_protocol::TaskState;

const TARGET: &str = "celeriac::worker";

event! {
    /// A task has arrived.
    pub struct TaskReceived<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The queue that delivered it.
        queue: &'a str,
        /// True if the broker delivered it before, to any consumer.
        redelivered: bool,
    }
    log: DEBUG { queue, redelivered } "{task}[{id}] received";
    span: "received";
    count: MESSAGES_CONSUMED {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "process", "messaging.destination.name" = queue
    };
}

event! {
    /// An attempt starts.
    pub struct TaskStarted<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Number of the attempt, from 1.
        attempt: u32,
    }
    log: DEBUG { attempt } "{task}[{id}] started";
    span: "started";
    count: TASKS_STARTED { "celeriac.task.name" = task };
}

event! {
    /// A task ended with a result.
    pub struct TaskSucceeded<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Run time of the last attempt.
        runtime: Duration,
    }
    log: INFO "{task}[{id}] succeeded in {:.3}s", runtime.as_secs_f64();
    span: "succeeded";
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "SUCCESS" };
    time: PROCESS_DURATION(runtime) {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "process", "celeriac.task.name" = task
    };
}

event! {
    /// An attempt failed, and another will follow.
    pub struct TaskRetried<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Number of the attempt that failed, from 1.
        attempt: u32,
        /// Error of the attempt.
        error: &'a str,
        /// Time until the next attempt.
        wait: Duration,
    }
    log: WARN { attempt } "{task}[{id}] tries again in {:.3}s: {error}", wait.as_secs_f64();
    span: "retried" { "celeriac.retry.wait" = wait, "celeriac.error" = error };
    count: TASKS_RETRIED { "celeriac.task.name" = task };
}

event! {
    /// A task failed permanently.
    pub struct TaskFailed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Number of attempts.
        attempts: u32,
        /// Error of the last attempt.
        error: &'a str,
        /// Run time of the last attempt.
        runtime: Duration,
    }
    log: ERROR { attempts } "{task}[{id}] failed after {:.3}s: {error}", runtime.as_secs_f64();
    span: "failed" { "celeriac.error" = error };
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "FAILURE" };
    time: PROCESS_DURATION(runtime) {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "process", "celeriac.task.name" = task
    };
}

event! {
    /// A task was rejected by its handler, or cannot run here.
    pub struct TaskRejected<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Reason.
        error: &'a str,
    }
    log: ERROR "{task}[{id}] rejected: {error}";
    span: "rejected" { "celeriac.error" = error };
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "REJECTED" };
}

event! {
    /// A message went to the dead-letter queue of its queue.
    pub struct MessageDeadLettered<'a> {
        /// The queue that delivered it.
        queue: &'a str,
        /// Reason, in one word.
        reason: &'a str,
        /// Error.
        error: &'a str,
        /// Task name, if it could be read.
        task: Option<&'a str>,
        /// Task id, if it could be read.
        id: Option<&'a str>,
    }
    log: ERROR { reason }
        "{}[{}] dead-lettered from queue {queue}: {error}", task.unwrap_or("unknown task"), id.unwrap_or("no id");
    span: "dead-lettered" { "celeriac.dead.reason" = reason, "celeriac.error" = error };
    count: MESSAGES_DEAD_LETTERED { "celeriac.queue" = queue, "celeriac.dead.reason" = reason };
}

event! {
    /// A task arrived after its expiry.
    pub struct TaskExpired<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: WARN "{task}[{id}] expired before it could start";
    span: "expired";
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "REVOKED" };
}

event! {
    /// A task was revoked before it started.
    pub struct TaskRevoked<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: INFO "{task}[{id}] revoked";
    span: "revoked";
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "REVOKED" };
}

event! {
    /// A task was revoked while it ran.
    pub struct TaskTerminated<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: INFO "{task}[{id}] terminated";
    span: "terminated";
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "REVOKED" };
}

event! {
    /// A task was delivered again after its outcome was recorded, and does not run again.
    pub struct TaskSkipped<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The recorded outcome.
        state: TaskState,
    }
    log: INFO "{task}[{id}] not run again: {state} is recorded";
    span: "skipped" { "celeriac.task.state" = state.as_str() };
    count: TASKS_SKIPPED { "celeriac.task.name" = task };
}

event! {
    /// A task was stopped, because the worker's drain time had passed. Its message returns to the
    /// queue.
    pub struct TaskInterrupted<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: WARN "{task}[{id}] interrupted by shutdown, goes back to its queue";
    span: "interrupted";
    count: TASKS_INTERRUPTED { "celeriac.task.name" = task };
}

event! {
    /// A worker takes tasks.
    pub struct WorkerOnline<'a> {
        /// Its name.
        name: &'a str,
        /// The queues that it consumes.
        queues: &'a [String],
        /// Number of tasks that it runs at a time.
        concurrency: usize,
        /// Number of its registered tasks.
        tasks: usize,
    }
    log: INFO "{name} ready: queues {}, concurrency {concurrency}, {tasks} tasks", queues.join(", ");
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
        run_time: Duration,
        /// Reason.
        reason: &'a str,
    }
    log: INFO "prefetch of queue {queue} is {to} now, was {from}: {reason}, {run_time:?} each so far";
    count: PREFETCH_CHANGES { "celeriac.queue" = queue };
}

event! {
    /// A worker takes no more tasks and finishes those it has.
    pub struct WorkerStopping {
        /// Number of running tasks.
        running: usize,
        /// Time that they have to finish.
        patience: Duration,
    }
    log: INFO "stopping: {running} tasks are running and have {patience:?} to finish";
}

event! {
    /// A worker has ended.
    pub struct WorkerOffline<'a> {
        /// Its name.
        name: &'a str,
        /// Number of interrupted tasks.
        interrupted: usize,
    }
    log: INFO "{name} stopped, {interrupted} tasks interrupted";
}

event! {
    /// A follow-up, a next attempt or a dead letter could not be published yet.
    pub struct FollowUpFailed<'a> {
        /// The destination exchange.
        exchange: &'a str,
        /// The routing key.
        routing_key: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN { exchange, routing_key } "what follows from a task cannot be sent yet, and is tried again: {error}";
    count: SENDS_FAILED;
}
