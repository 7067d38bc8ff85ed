//! What happens on the side of the sender.

use tracing::{Level, debug, warn};

use super::Occurrence;
use crate::metrics::{Counter, count};

const TARGET: &str = "celeriac::client";

/// A task stands on a queue.
#[derive(Debug, Clone, Copy)]
pub struct TaskSent<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// Where it was published to.
    pub exchange: &'a str,
    /// The routing key it was published with.
    pub routing_key: &'a str,
}

impl Occurrence for TaskSent<'_> {
    fn tell(&self) {
        count(Counter::MessagesSent);
        debug!(target: TARGET, exchange = self.exchange, routing_key = self.routing_key, "{}[{}] sent", self.task, self.id);
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }
}

/// A task stands in the outbox, for when the transaction commits that it was sent in.
#[derive(Debug, Clone, Copy)]
pub struct TaskWritten<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
}

impl Occurrence for TaskWritten<'_> {
    fn tell(&self) {
        debug!(target: TARGET, "{}[{}] written to the outbox", self.task, self.id);
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }
}

/// A task could not be put on a queue. The caller has the error.
#[derive(Debug, Clone, Copy)]
pub struct SendFailed<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// Why not.
    pub error: &'a str,
}

impl Occurrence for SendFailed<'_> {
    fn tell(&self) {
        count(Counter::SendsFailed);
        warn!(target: TARGET, "{}[{}] could not be sent: {}", self.task, self.id, self.error);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// A reply could not be understood, and is gone. Whoever waits for it waits on.
#[derive(Debug, Clone, Copy)]
pub struct ReplyUnreadable<'a> {
    /// The task it belongs to, where it says so.
    pub id: Option<&'a str>,
    /// What is wrong with it.
    pub error: &'a str,
}

impl Occurrence for ReplyUnreadable<'_> {
    fn tell(&self) {
        count(Counter::RepliesUnreadable);
        let id = self.id.unwrap_or("unknown");
        warn!(target: TARGET, "a reply of task {id} cannot be read, and is dropped: {}", self.error);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// A reply came that nobody waits for any more.
#[derive(Debug, Clone, Copy)]
pub struct ReplyUnawaited<'a> {
    /// Task id.
    pub id: &'a str,
    /// How the task stands.
    pub status: &'a str,
}

impl Occurrence for ReplyUnawaited<'_> {
    fn tell(&self) {
        debug!(target: TARGET, "nobody waits for the reply of task {}: {}", self.id, self.status);
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }
}
