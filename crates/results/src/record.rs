//! Rows: one for each task, from its sending on where that is tracked, and one for each failed
//! attempt.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::{Failure, Message, TaskState};
use celeriac_telemetry::KeptLog;
use jiff::Timestamp;

use crate::error_args;
#[cfg(feature = "sqlite")]
use crate::joins::Arrival;
use crate::joins::JoinMember;

/// A row of the table `tasks`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// The task id.
    pub id: String,
    /// The registered name. Empty if it could not be read.
    pub name: String,
    /// The state.
    pub state: TaskState,
    /// The name of the state that a running task has given itself. [`result`](Self::result) then
    /// has what the task says about it.
    pub custom_state: Option<String>,
    /// Positional arguments, as JSON text.
    pub args: Option<String>,
    /// Named arguments, as JSON text.
    pub kwargs: Option<String>,
    /// The result, as JSON text.
    pub result: Option<String>,
    /// The error.
    pub failure: Option<Failure>,
    /// The queue that delivered the task.
    pub queue: Arc<str>,
    /// The exchange that the task was published to.
    pub exchange: String,
    /// The routing key that the task was published with.
    pub routing_key: String,
    /// The worker that recorded the row.
    pub worker: Arc<str>,
    /// Number of attempts started, including this one. A replay restarts the count.
    pub attempts: u32,
    /// Number of times that the task was replayed from a dead-letter queue.
    pub replays: u32,
    /// The first task of the workflow.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
    /// The group of the task.
    pub group_id: Option<String>,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// The message of the next attempt, of a task in the state `RETRY`. Postgres keeps it until the
    /// row is written again; a row that is read has none.
    #[doc(hidden)]
    pub next_attempt: Option<Box<Message>>,
    /// The log lines of the last attempt, for Postgres; a row that is read has none.
    #[doc(hidden)]
    pub log: Option<Box<KeptLog>>,
    /// The join that counts this end of the task, in its transaction; a row that is read has none.
    #[doc(hidden)]
    pub member: Option<Box<JoinMember>>,
    /// Time after which the task must not start.
    pub expires: Option<Timestamp>,
    /// Time at which the task was sent, if its id contains it.
    pub sent_at: Option<Timestamp>,
    /// Time at which the worker received the task.
    pub received_at: Option<Timestamp>,
    /// Start of the last attempt.
    pub started_at: Option<Timestamp>,
    /// End of the task.
    pub finished_at: Option<Timestamp>,
    /// Duration of the last attempt.
    pub runtime: Option<Duration>,
    /// The trace id.
    pub trace_id: Option<String>,
}

/// Longest task id, in bytes: AMQP's limit for the `correlation_id` that carries it.
pub(crate) const LONGEST_ID: usize = 255;

/// Returns `true` if a store can hold this text as a task id.
pub fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.contains('\0')
}

impl TaskRecord {
    /// Returns the record of a task without further values.
    pub fn new(id: impl Into<String>, name: impl Into<String>, state: TaskState) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            state,
            custom_state: None,
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
            next_attempt: None,
            log: None,
            member: None,
            expires: None,
            sent_at: None,
            received_at: None,
            started_at: None,
            finished_at: None,
            runtime: None,
            trace_id: None,
        }
    }

    /// Returns `true` if the record describes an attempt that ran and did not succeed. A task may
    /// fail without one.
    pub(crate) fn is_failed_attempt(&self) -> bool {
        let failed =
            matches!(self.state, TaskState::Retry | TaskState::Failure | TaskState::Revoked | TaskState::Rejected);
        failed && self.attempts > 0 && self.started_at.is_some() && self.runtime.is_some()
    }

    /// Returns the arrival of the task in its join, if it is a member and has ended.
    #[cfg(feature = "sqlite")]
    pub(crate) fn arrival(&self) -> Option<Arrival> {
        let member = self.member.as_deref()?.clone();
        let outcome = match self.state {
            TaskState::Success => Ok(self.result.clone().unwrap_or_else(|| "null".to_owned())),
            state => Err(self.failure.clone().unwrap_or_else(|| Failure::new(state.as_str(), ""))),
        };
        Some(Arrival { member, task: self.id.clone(), outcome })
    }

    /// Returns the bytes of the values that may be large.
    pub(crate) fn size(&self) -> usize {
        let documents = [&self.args, &self.kwargs, &self.result].into_iter().flatten().map(String::len).sum::<usize>();
        let failure = self.failure.as_ref();
        let next = self.next_attempt.as_ref().map_or(0, |message| message.body.len());
        documents
            + next
            + failure.map_or(0, |failure| failure.message.len() + failure.trace.as_ref().map_or(0, String::len))
            + failure.and_then(error_args::to_text).map_or(0, |args| args.len())
    }
}

/// A row of the table `attempt_logs`: the log lines of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    /// Number of replays of the task before the attempt.
    pub replays: u32,
    /// Number of the attempt, from 1. A replay restarts the count.
    pub attempt: u32,
    /// The worker that ran the attempt.
    pub worker: String,
    /// The lines.
    pub log: KeptLog,
}

/// A task whose message is on a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRecord {
    /// The task id.
    pub id: String,
    /// The name of the task.
    pub name: String,
    /// The queue, if it is known, or else the routing key.
    pub queue: String,
    /// The exchange that it was published to.
    pub exchange: String,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The time of sending.
    pub sent_at: Timestamp,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which the task must not start.
    pub expires: Option<Timestamp>,
    /// The first task of the workflow.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
    /// The group of the task.
    pub group_id: Option<String>,
}

/// A row of the view `attempt_history`: one attempt of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// Number of replays of the task before this attempt.
    pub replays: u32,
    /// Number of the attempt, from 1. A replay restarts the count.
    pub attempt: u32,
    /// The end of the attempt. `RETRY` if another one follows.
    pub state: TaskState,
    /// The worker that ran the attempt.
    pub worker: Arc<str>,
    /// Start of the attempt.
    pub started_at: Timestamp,
    /// End of the attempt.
    pub finished_at: Option<Timestamp>,
    /// Duration of the attempt.
    pub runtime: Option<Duration>,
    /// The error.
    pub failure: Option<Failure>,
    /// Time of the next attempt.
    pub next_at: Option<Timestamp>,
}

#[cfg(feature = "sqlite")]
impl AttemptRecord {
    /// Returns the attempt that a record describes, if it ran and did not succeed.
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
            next_at: record.eta.filter(|_| record.state == TaskState::Retry),
        })
    }
}
