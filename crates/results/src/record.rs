//! What is known of a task: one row each.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Failure, State};
use jiff::Timestamp;

/// A row of the table `tasks`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Task id.
    pub id: String,
    /// Registered name; empty when not even that could be read.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// Positional arguments, as JSON text.
    pub args: Option<String>,
    /// Named arguments, as JSON text.
    pub kwargs: Option<String>,
    /// What it returned, as JSON text.
    pub result: Option<String>,
    /// How it failed.
    pub failure: Option<Failure>,
    /// The queue it was taken from.
    pub queue: Arc<str>,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// The worker that recorded it.
    pub worker: Arc<str>,
    /// Attempts begun, this one included; counted anew when the task is replayed.
    pub attempts: u32,
    /// How often it was replayed from a dead-letter queue.
    pub replays: u32,
    /// First task of the workflow.
    pub root_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// Its group.
    pub group_id: Option<String>,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which it must not start.
    pub expires: Option<Timestamp>,
    /// When it was sent, where its id tells.
    pub sent_at: Option<Timestamp>,
    /// When the worker received it.
    pub received_at: Option<Timestamp>,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long the last attempt took.
    pub runtime: Option<Duration>,
    /// Trace that tells its story.
    pub trace_id: Option<String>,
}

/// The longest task id, in bytes: AMQP's limit for the `correlation_id` that carries it.
pub(crate) const LONGEST_ID: usize = 255;

/// Whether a store can hold this as the id of a task.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0')
}

impl TaskRecord {
    /// Bytes of what may be large in it.
    pub(crate) fn size(&self) -> usize {
        let documents = [&self.args, &self.kwargs, &self.result].into_iter().flatten().map(String::len).sum::<usize>();
        let failure = self.failure.as_ref();
        documents + failure.map_or(0, |failure| failure.message.len() + failure.trace.as_ref().map_or(0, String::len))
    }
}
