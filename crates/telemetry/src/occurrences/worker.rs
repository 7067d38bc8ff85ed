//! What happens to tasks and to the worker that runs them.

use std::time::Duration;

use celeriac_protocol::State;
use tracing::{Level, debug, error, info, warn};

use super::{Attribute, Occurrence};
use crate::metrics::{Counter, TaskCounter, count, count_finished, count_task};

const TARGET: &str = "celeriac::worker";

/// A task has arrived.
#[derive(Debug, Clone, Copy)]
pub struct TaskReceived<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// The queue it was taken from.
    pub queue: &'a str,
    /// Whether it was delivered before, to anybody.
    pub redelivered: bool,
}

impl Occurrence for TaskReceived<'_> {
    fn tell(&self) {
        count(Counter::MessagesConsumed);
        debug!(target: TARGET, queue = self.queue, redelivered = self.redelivered, "{}[{}] received", self.task, self.id);
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("received", &[]);
    }
}

/// An attempt begins.
#[derive(Debug, Clone, Copy)]
pub struct TaskStarted<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// Which attempt, counted from 1.
    pub attempt: u32,
}

impl Occurrence for TaskStarted<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Started);
        debug!(target: TARGET, attempt = self.attempt, "{}[{}] started", self.task, self.id);
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("started", &[]);
    }
}

/// A task ended with a result.
#[derive(Debug, Clone, Copy)]
pub struct TaskSucceeded<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// How long the last attempt took.
    pub runtime: Duration,
}

impl Occurrence for TaskSucceeded<'_> {
    fn tell(&self) {
        count_finished(self.task, TaskCounter::Succeeded, self.runtime);
        info!(target: TARGET, "{}[{}] succeeded in {:.3}s", self.task, self.id, self.runtime.as_secs_f64());
    }

    fn level(&self) -> Level {
        Level::INFO
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("succeeded", &[]);
    }
}

/// An attempt failed, and another will follow.
#[derive(Debug, Clone, Copy)]
pub struct TaskRetried<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// Which attempt failed, counted from 1.
    pub attempt: u32,
    /// How it failed.
    pub error: &'a str,
    /// How long until the next one.
    pub wait: Duration,
}

impl Occurrence for TaskRetried<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Retried);
        warn!(
            target: TARGET,
            attempt = self.attempt,
            "{}[{}] tries again in {:.3}s: {}", self.task, self.id, self.wait.as_secs_f64(), self.error,
        );
    }

    fn level(&self) -> Level {
        Level::WARN
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("retried", &[("celeriac.retry.wait", self.wait.into()), ("celeriac.error", self.error.into())]);
    }
}

/// A task failed for good.
#[derive(Debug, Clone, Copy)]
pub struct TaskFailed<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// How many attempts it had.
    pub attempts: u32,
    /// How the last one failed.
    pub error: &'a str,
    /// How long the last one took.
    pub runtime: Duration,
}

impl Occurrence for TaskFailed<'_> {
    fn tell(&self) {
        count_finished(self.task, TaskCounter::Failed, self.runtime);
        error!(
            target: TARGET,
            attempts = self.attempts,
            "{}[{}] failed after {:.3}s: {}", self.task, self.id, self.runtime.as_secs_f64(), self.error,
        );
    }

    fn level(&self) -> Level {
        Level::ERROR
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("failed", &[("celeriac.error", self.error.into())]);
    }
}

/// A task was rejected by its handler, or cannot be run here.
#[derive(Debug, Clone, Copy)]
pub struct TaskRejected<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// Why.
    pub error: &'a str,
}

impl Occurrence for TaskRejected<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Rejected);
        error!(target: TARGET, "{}[{}] rejected: {}", self.task, self.id, self.error);
    }

    fn level(&self) -> Level {
        Level::ERROR
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("rejected", &[("celeriac.error", self.error.into())]);
    }
}

/// A message went to the dead-letter queue of its queue.
#[derive(Debug, Clone, Copy)]
pub struct MessageDeadLettered<'a> {
    /// The queue it was taken from.
    pub queue: &'a str,
    /// Why, in one word.
    pub reason: &'a str,
    /// What went wrong.
    pub error: &'a str,
    /// Task name, where it could be read.
    pub task: Option<&'a str>,
    /// Task id, where it could be read.
    pub id: Option<&'a str>,
}

impl Occurrence for MessageDeadLettered<'_> {
    fn tell(&self) {
        count(Counter::MessagesDeadLettered);
        error!(
            target: TARGET,
            reason = self.reason,
            "{}[{}] dead-lettered from queue {}: {}",
            self.task.unwrap_or("unknown task"),
            self.id.unwrap_or("no id"),
            self.queue,
            self.error,
        );
    }

    fn level(&self) -> Level {
        Level::ERROR
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("dead-lettered", &[("celeriac.dead.reason", self.reason.into()), ("celeriac.error", self.error.into())]);
    }
}

/// A task came too late to be started.
#[derive(Debug, Clone, Copy)]
pub struct TaskExpired<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
}

impl Occurrence for TaskExpired<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Revoked);
        warn!(target: TARGET, "{}[{}] expired before it could start", self.task, self.id);
    }

    fn level(&self) -> Level {
        Level::WARN
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("expired", &[]);
    }
}

/// A task was revoked, before it began or while it ran.
#[derive(Debug, Clone, Copy)]
pub struct TaskRevoked<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// `revoked` before it began, `terminated` while it ran.
    pub how: &'a str,
}

impl Occurrence for TaskRevoked<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Revoked);
        info!(target: TARGET, "{}[{}] {}", self.task, self.id, self.how);
    }

    fn level(&self) -> Level {
        Level::INFO
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark(if self.how == "terminated" { "terminated" } else { "revoked" }, &[]);
    }
}

/// A task was delivered again after its outcome had been recorded, and is not run again.
#[derive(Debug, Clone, Copy)]
pub struct TaskSkipped<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// The outcome that stands.
    pub state: State,
}

impl Occurrence for TaskSkipped<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Skipped);
        info!(target: TARGET, "{}[{}] not run again: {} is recorded", self.task, self.id, self.state);
    }

    fn level(&self) -> Level {
        Level::INFO
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("skipped", &[("celeriac.task.state", self.state.as_str().into())]);
    }
}

/// A task was stopped before its end, because the worker's patience was over. Its message goes back to the queue.
#[derive(Debug, Clone, Copy)]
pub struct TaskInterrupted<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
}

impl Occurrence for TaskInterrupted<'_> {
    fn tell(&self) {
        count_task(self.task, TaskCounter::Interrupted);
        warn!(target: TARGET, "{}[{}] interrupted by shutdown, goes back to its queue", self.task, self.id);
    }

    fn level(&self) -> Level {
        Level::WARN
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("interrupted", &[]);
    }
}

/// A worker takes tasks.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOnline<'a> {
    /// Its name.
    pub name: &'a str,
    /// The queues it takes from.
    pub queues: &'a [String],
    /// How many tasks it runs at a time.
    pub concurrency: usize,
    /// How many tasks it knows.
    pub tasks: usize,
}

impl Occurrence for WorkerOnline<'_> {
    fn tell(&self) {
        info!(
            target: TARGET,
            "{} ready: queues {}, concurrency {}, {} tasks",
            self.name,
            self.queues.join(", "),
            self.concurrency,
            self.tasks,
        );
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// A worker holds another number of messages of a queue than before, because of how its tasks use the slots.
#[derive(Debug, Clone, Copy)]
pub struct PrefetchChanged<'a> {
    /// The queue.
    pub queue: &'a str,
    /// How many it could hold.
    pub from: u16,
    /// How many it may hold now.
    pub to: u16,
    /// How long a task of the queue has a slot, those that still run included.
    pub run_time: Duration,
    /// Why.
    pub reason: &'a str,
}

impl Occurrence for PrefetchChanged<'_> {
    fn tell(&self) {
        count(Counter::PrefetchChanges);
        info!(
            target: TARGET,
            "prefetch of queue {} is {} now, was {}: {}, {:?} each so far",
            self.queue, self.to, self.from, self.reason, self.run_time,
        );
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// A worker takes no more tasks and finishes those it has.
#[derive(Debug, Clone, Copy)]
pub struct WorkerStopping {
    /// How many are running.
    pub running: usize,
    /// How long it waits for them.
    pub patience: Duration,
}

impl Occurrence for WorkerStopping {
    fn tell(&self) {
        info!(target: TARGET, "stopping: {} tasks are running and have {:?} to finish", self.running, self.patience);
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// A worker has ended.
#[derive(Debug, Clone, Copy)]
pub struct WorkerOffline<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many tasks it had to interrupt.
    pub interrupted: usize,
}

impl Occurrence for WorkerOffline<'_> {
    fn tell(&self) {
        info!(target: TARGET, "{} stopped, {} tasks interrupted", self.name, self.interrupted);
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// What follows from a task could not be sent yet: its next attempt, or its place in a dead-letter queue.
#[derive(Debug, Clone, Copy)]
pub struct FollowUpFailed<'a> {
    /// Where it is published to.
    pub exchange: &'a str,
    /// The routing key it is published with.
    pub routing_key: &'a str,
    /// Why not.
    pub error: &'a str,
}

impl Occurrence for FollowUpFailed<'_> {
    fn tell(&self) {
        count(Counter::SendsFailed);
        warn!(
            target: TARGET,
            exchange = self.exchange,
            routing_key = self.routing_key,
            "what follows from a task cannot be sent yet, and is tried again: {}", self.error,
        );
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}
