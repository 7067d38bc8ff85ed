//! Events of a task: its arrival, its runs, its hooks and its end.

use std::time::Duration;

use celeriac_protocol::{Failure, TaskHeaders, TaskState};

use crate::metrics::{
    MESSAGES_CONSUMED, MESSAGES_DEAD_LETTERED, MESSAGES_SETTLED, PROCESS_DURATION, QUEUE_WAIT, TASKS_DELAYED,
    TASKS_FINISHED, TASKS_HELD_UNKNOWN, TASKS_INTERRUPTED, TASKS_RATE_LIMITED, TASKS_RETRIED, TASKS_SKIPPED,
    TASKS_STARTED, bounded_kind,
};
use crate::monitors::MonitorValue;

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
        /// The headers of the task.
        headers: &'a TaskHeaders,
        /// Its arguments as Python prints them, if they are known and may be shown: those by
        /// position, and those by name.
        arguments: Option<(&'a str, &'a str)>,
    }
    log: DEBUG "task received" { task, id, queue, redelivered };
    span: "received";
    celery: "task-received" {
        "uuid" = id,
        "name" = task,
        "args" = arguments.map(|(args, _)| args),
        "kwargs" = arguments.map(|(_, kwargs)| kwargs),
        "root_id" = headers.root_id.as_deref().unwrap_or(id),
        "parent_id" = headers.parent_id.as_deref(),
        "retries" = headers.retries,
        "eta" = headers.eta,
        "expires" = headers.expires,
    };
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
        /// The queue that delivered it.
        queue: &'a str,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Time since the task was sent, or was due. `None` if it is not known.
        wait: Option<Duration>,
        /// Its arguments as Python prints them, if they were not known at its arrival: those by
        /// position, and those by name.
        arguments: Option<(&'a str, &'a str)>,
    }
    log: DEBUG "task started" { task, id, attempt };
    span: "started" { "celeriac.task.wait" = wait };
    celery: "task-started" {
        "uuid" = id,
        "args" = arguments.map_or(MonitorValue::Absent, |(args, _)| args.into()),
        "kwargs" = arguments.map_or(MonitorValue::Absent, |(_, kwargs)| kwargs.into()),
    };
    count: TASKS_STARTED { "celeriac.task.name" = task };
    time: QUEUE_WAIT(wait) { "celeriac.queue" = queue };
}

event! {
    /// A task ended with a result.
    pub struct TaskSucceeded<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The result, in JSON.
        result: &'a str,
        /// Run time of the last attempt.
        runtime: Duration,
    }
    log: DEBUG "task succeeded" { task, id, runtime_seconds = runtime.as_secs_f64() };
    span: "succeeded";
    celery: "task-succeeded" { "uuid" = id, "result" = MonitorValue::Json(result), "runtime" = runtime };
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
        failure: &'a Failure,
        /// Time until the next attempt.
        retry_in: Duration,
    }
    log: WARN "task retried" {
        task, id, attempt, retry_in_seconds = retry_in.as_secs_f64(), error = failure.to_string()
    };
    span: "retried" { "celeriac.retry.wait" = retry_in, "celeriac.error" = failure.to_string().as_str() };
    celery: "task-retried" { "uuid" = id, "exception" = failure, "traceback" = failure.trace.as_deref() };
    count: TASKS_RETRIED { "celeriac.task.name" = task, "error.type" = bounded_kind(&failure.kind) };
}

event! {
    /// A task failed permanently.
    pub struct TaskFailed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Number of the last attempt, from 1.
        attempt: u32,
        /// Error of the last attempt.
        failure: &'a Failure,
        /// True if the task rejected its message.
        rejected: bool,
        /// Run time of the last attempt.
        runtime: Duration,
    }
    log: ERROR "task failed" {
        task, id, attempt, runtime_seconds = runtime.as_secs_f64(), error = failure.to_string()
    };
    span: "failed" { "celeriac.error" = failure.to_string().as_str() };
    celery: (if rejected { "task-rejected" } else { "task-failed" }) {
        "uuid" = id,
        "exception" = failure,
        "traceback" = failure.trace.as_deref(),
        "requeue" = if rejected { MonitorValue::Flag(false) } else { MonitorValue::Absent },
    };
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "FAILURE" };
    time: PROCESS_DURATION(runtime) {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "process", "celeriac.task.name" = task
    };
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
    log: ERROR "message dead-lettered" { task, id, queue, reason, error };
    span: "dead-lettered" { "celeriac.dead.reason" = reason, "celeriac.error" = error };
    count: MESSAGES_DEAD_LETTERED { "celeriac.queue" = queue, "celeriac.dead.reason" = reason };
}

event! {
    /// A task can never run here: it is unknown, or its message cannot be read.
    pub struct TaskRejected<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Reason, in one word.
        reason: &'a str,
        /// Error.
        failure: &'a Failure,
    }
    log: DEBUG "task rejected" { task, id, reason };
    span: "rejected" { "celeriac.dead.reason" = reason };
    celery: "task-failed" { "uuid" = id, "exception" = failure, "traceback" = failure.trace.as_deref() };
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "FAILURE" };
}

event! {
    /// A task may have crashed its worker too often, and does not run again.
    pub struct TaskQuarantined<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Number of deliveries whose worker was lost.
        deliveries: u32,
        /// Error.
        failure: &'a Failure,
    }
    log: WARN "task quarantined" { task, id, deliveries };
    span: "quarantined";
    celery: "task-failed" { "uuid" = id, "exception" = failure, "traceback" = failure.trace.as_deref() };
    count: TASKS_FINISHED { "celeriac.task.name" = task, "celeriac.task.state" = "FAILURE" };
}

event! {
    /// A task arrived before it is due, or is unknown here again, and waits at the broker.
    pub struct TaskDelayed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time until the message is back on its queue.
        retry_in: Duration,
    }
    log: DEBUG "task delayed" { task, id, retry_in_seconds = retry_in.as_secs_f64() };
    span: "delayed" { "celeriac.task.delay" = retry_in };
    count: TASKS_DELAYED { "celeriac.task.name" = task };
}

event! {
    /// A running task has given itself a state.
    pub struct TaskStateUpdated<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The name of the state.
        state: &'a str,
    }
    log: DEBUG "task state updated" { task, id, state };
    span: "state updated" { "celeriac.task.state" = state };
}

event! {
    /// A task returned itself to its queue. The run does not count as an attempt.
    pub struct TaskRequeued<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time until the message is back on its queue.
        retry_in: Duration,
        /// Reason that the task gave.
        error: &'a str,
    }
    log: INFO "task requeued" { task, id, retry_in_seconds = retry_in.as_secs_f64(), error };
    span: "requeued" { "celeriac.task.delay" = retry_in };
    celery: "task-rejected" { "uuid" = id, "requeue" = true };
}

event! {
    /// A task was replaced by another one, which has its id.
    pub struct TaskReplaced<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Name of the replacement, or Celery's name for its kind.
        by: &'a str,
    }
    log: INFO "task replaced" { task, id, by };
    span: "replaced" { "celeriac.task.replacement" = by };
}

event! {
    /// A worker does not know a task, and returns the message to its queue for another worker.
    pub struct UnknownTaskHeld<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The queue.
        queue: &'a str,
        /// Time left until the message is dead-lettered.
        grace_left: Duration,
    }
    log: WARN "unknown task held" { task, id, queue, grace_left_seconds = grace_left.as_secs_f64() };
    span: "held-unknown";
    count: TASKS_HELD_UNKNOWN { "celeriac.queue" = queue };
}

event! {
    /// A task exceeds its rate limit, and waits for its start.
    pub struct TaskRateLimited<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: DEBUG "task rate-limited" { task, id };
    span: "rate-limited";
    count: TASKS_RATE_LIMITED { "celeriac.task.name" = task };
}

event! {
    /// The outcome of a task is durable.
    pub struct OutcomeRecorded<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The outcome.
        state: TaskState,
    }
    log: DEBUG "outcome recorded" { task, id, state = state.as_str() };
    span: "recorded" { "celeriac.task.state" = state.as_str() };
}

event! {
    /// The worker has settled the message of a task.
    pub struct MessageSettled<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// AMQP's method: `ack`, `nack` or `reject`.
        settlement: &'a str,
    }
    log: DEBUG "message settled" { task, id, settlement };
    span: "settled" { "celeriac.settlement" = settlement };
    count: MESSAGES_SETTLED { "celeriac.settlement" = settlement };
}

event! {
    /// A task arrived after its expiry.
    pub struct TaskExpired<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: WARN "task expired" { task, id };
    span: "expired";
    celery: "task-revoked" {
        "uuid" = id, "terminated" = false, "signum" = MonitorValue::Null, "expired" = true
    };
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
    log: DEBUG "task revoked" { task, id };
    span: "revoked";
    celery: "task-revoked" {
        "uuid" = id, "terminated" = false, "signum" = MonitorValue::Null, "expired" = false
    };
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
    log: DEBUG "task terminated" { task, id };
    span: "terminated";
    // Celery's signal for `terminate`, SIGTERM.
    celery: "task-revoked" {
        "uuid" = id, "terminated" = true, "signum" = MonitorValue::Integer(15), "expired" = false
    };
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
    log: DEBUG "task skipped" { task, id, state = state.as_str() };
    span: "skipped" { "celeriac.task.state" = state.as_str() };
    count: TASKS_SKIPPED { "celeriac.task.name" = task };
}

event! {
    /// A task was stopped at the worker's drain timeout. Its message returns to its queue.
    pub struct TaskInterrupted<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: WARN "task interrupted" { task, id };
    span: "interrupted";
    count: TASKS_INTERRUPTED { "celeriac.task.name" = task };
}

event! {
    /// A hook exceeded its time limit. The outcome of the attempt does not change.
    pub struct HookTimedOut<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The hook.
        hook: &'a str,
        /// The limit.
        limit: Duration,
    }
    log: WARN "hook timed out" { task, id, hook, limit_seconds = limit.as_secs_f64() };
}

event! {
    /// A hook panicked after the attempt had ended. The outcome of the attempt does not change.
    pub struct HookPanicked<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Message of the panic.
        error: &'a str,
    }
    log: WARN "hook panicked" { task, id, error };
}

event! {
    /// A task occupies a thread of the runtime without an `await`. Nothing can end it meanwhile,
    /// and other tasks may wait for the thread.
    pub struct TaskNotYielding<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Time since its last `await`.
        blocked: Duration,
    }
    log: WARN "task does not yield" { task, id, blocked_seconds = blocked.as_secs_f64() };
}

event! {
    /// A task did not end although it was interrupted, because it does not yield. The worker ends
    /// without it.
    pub struct TaskAbandoned<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: WARN "task abandoned" { task, id };
    count: TASKS_INTERRUPTED { "celeriac.task.name" = task };
}

event! {
    /// A task that was cut off, or one of its hooks, panicked while its values were dropped. The
    /// outcome of the attempt does not change.
    pub struct TaskDropPanicked<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Message of the panic.
        error: &'a str,
    }
    log: WARN "task panicked in drop" { task, id, error };
}

event! {
    /// The worker panicked while it handled a delivery. Its message is dead-lettered.
    pub struct AttemptPanicked<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Message of the panic.
        error: &'a str,
    }
    log: ERROR "attempt panicked" { task, id, error };
}
