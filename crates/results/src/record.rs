//! Rows: one for each task, and one for each attempt that failed.

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
    /// Its state.
    pub state: State,
    /// Positional arguments, as JSON text.
    pub args: Option<String>,
    /// Named arguments, as JSON text.
    pub kwargs: Option<String>,
    /// Its result, as JSON text.
    pub result: Option<String>,
    /// Its error.
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
    /// The number of times that it was replayed from a dead-letter queue.
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
    /// The time at which it was sent, where its id tells.
    pub sent_at: Option<Timestamp>,
    /// The time at which the worker received it.
    pub received_at: Option<Timestamp>,
    /// The time at which the last attempt began.
    pub started_at: Option<Timestamp>,
    /// The time at which it ended.
    pub finished_at: Option<Timestamp>,
    /// The duration of the last attempt.
    pub runtime: Option<Duration>,
    /// Trace that tells its story.
    pub trace_id: Option<String>,
}

/// The longest task id, in bytes: AMQP's limit for the `correlation_id` that carries it.
pub(crate) const LONGEST_ID: usize = 255;

/// Reports whether a store can hold this as the id of a task.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0')
}

impl TaskRecord {
    /// Makes the record of a task of which nothing else is known.
    pub fn new(id: impl Into<String>, name: impl Into<String>, state: State) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            state,
            args: None,
            kwargs: None,
            result: None,
            failure: None,
            queue: Arc::from(""),
            exchange: String::new(),
            routing_key: String::new(),
            worker: Arc::from(""),
            attempts: 0,
            replays: 0,
            root_id: None,
            parent_id: None,
            group_id: None,
            eta: None,
            expires: None,
            sent_at: None,
            received_at: None,
            started_at: None,
            finished_at: None,
            runtime: None,
            trace_id: None,
        }
    }

    /// Reports whether it tells of an attempt that has run and did not succeed; a task may fail without one.
    pub(crate) fn is_failed_attempt(&self) -> bool {
        let failed = matches!(self.state, State::Retry | State::Failure | State::Revoked | State::Rejected);
        failed && self.attempts > 0 && self.started_at.is_some() && self.runtime.is_some()
    }

    /// Bytes of what may be large in it.
    pub(crate) fn size(&self) -> usize {
        let documents = [&self.args, &self.kwargs, &self.result].into_iter().flatten().map(String::len).sum::<usize>();
        let failure = self.failure.as_ref();
        documents + failure.map_or(0, |failure| failure.message.len() + failure.trace.as_ref().map_or(0, String::len))
    }
}

/// A row of the view `attempt_history`: one attempt of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// The number of times that the task had been replayed by then.
    pub replays: u32,
    /// The number of the attempt, from 1; counted anew when the task is replayed.
    pub attempt: u32,
    /// Its end: `RETRY` when another attempt follows.
    pub state: State,
    /// The worker that ran it.
    pub worker: Arc<str>,
    /// The time at which it began.
    pub started_at: Timestamp,
    /// The time at which it ended.
    pub finished_at: Option<Timestamp>,
    /// Its duration.
    pub runtime: Option<Duration>,
    /// Its error.
    pub failure: Option<Failure>,
    /// The time at which the next attempt is due.
    pub next_at: Option<Timestamp>,
}

#[cfg(feature = "sqlite")]
impl AttemptRecord {
    /// The attempt that a record tells of, if it has run and did not succeed.
    pub(crate) fn failed(record: &TaskRecord) -> Option<Self> {
        let (started_at, runtime) = (record.started_at?, record.runtime?);
        record.is_failed_attempt().then(|| Self {
            replays: record.replays,
            attempt: record.attempts,
            state: record.state,
            worker: Arc::clone(&record.worker),
            started_at,
            finished_at: started_at.checked_add(runtime).ok(),
            runtime: Some(runtime),
            failure: record.failure.clone(),
            next_at: record.eta.filter(|_| record.state == State::Retry),
        })
    }
}
