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
