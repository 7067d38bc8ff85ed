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
    log: DEBUG "task received" { task, id, queue, redelivered };
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
    log: DEBUG "task started" { task, id, attempt };
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
    log: DEBUG "task succeeded" { task, id, runtime_seconds = runtime.as_secs_f64() };
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
        retry_in: Duration,
    }
    log: WARN "task retried" { task, id, attempt, retry_in_seconds = retry_in.as_secs_f64(), error };
    span: "retried" { "celeriac.retry.wait" = retry_in, "celeriac.error" = error };
    count: TASKS_RETRIED { "celeriac.task.name" = task };
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
        error: &'a str,
        /// Run time of the last attempt.
        runtime: Duration,
    }
    log: ERROR "task failed" { task, id, attempt, runtime_seconds = runtime.as_secs_f64(), error };
    span: "failed" { "celeriac.error" = error };
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
    /// A task arrived after its expiry.
    pub struct TaskExpired<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: WARN "task expired" { task, id };
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
    log: DEBUG "task revoked" { task, id };
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
    log: DEBUG "task terminated" { task, id };
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
