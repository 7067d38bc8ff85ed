//! What can go wrong for a sender, by what it can do about it.

use std::time::Duration;

use celeriac_protocol::{Failure, State};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The task was not sent, or that cannot be known.
    #[error("cannot send task `{task}`")]
    Send {
        /// The task.
        task: String,
        /// Why.
        #[source]
        source: celeriac_broker::Error,
    },
    /// The task was not written to the outbox, and the transaction is lost.
    #[error("cannot write task `{task}` to the outbox")]
    Outbox {
        /// The task.
        task: String,
        /// Why.
        #[source]
        source: celeriac_results::Error,
    },
    /// There is no outbox to write to.
    #[error("cannot send task `{task}` in a transaction: results.url is no Postgres database")]
    NoOutbox {
        /// The task.
        task: String,
    },
    /// It cannot be known whether the task was sent before under its idempotency key.
    #[error("cannot look up the idempotency key of task `{task}`")]
    Key {
        /// The task.
        task: String,
        /// Why.
        #[source]
        source: celeriac_results::Error,
    },
    /// There is no place for idempotency keys.
    #[error("cannot send task `{task}` under an idempotency key: results.url is no Postgres database")]
    NoKeys {
        /// The task.
        task: String,
    },
    /// The arguments cannot be written.
    #[error("cannot write the arguments of task `{task}`")]
    Encode {
        /// The task.
        task: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A call that cannot be meant.
    #[error("task `{task}`: {reason}")]
    Call {
        /// The task.
        task: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The task ended with an error.
    #[error("task {id} failed: {failure}")]
    Failed {
        /// Its id.
        id: String,
        /// Its error.
        failure: Box<Failure>,
    },
    /// The task was revoked.
    #[error("task {id} was {}", if *.terminated { "terminated while it ran" } else { "revoked before it began" })]
    Revoked {
        /// Its id.
        id: String,
        /// Whether it had begun.
        terminated: bool,
    },
    /// The task ended without a result: it has expired, or was rejected.
    #[error("task {id} did not run: {state}{}", .failure.as_ref().map(|failure| format!(", {failure}")).unwrap_or_default())]
    NotRun {
        /// Its id.
        id: String,
        /// How it ended.
        state: State,
        /// Why.
        failure: Option<Box<Failure>>,
    },
    /// No outcome until the deadline. The task may still run.
    #[error("task {id} has no outcome after {waited:?}")]
    Timeout {
        /// Its id.
        id: String,
        /// How long was waited.
        waited: Duration,
        /// What could have told it.
        awaited: Awaited,
    },
    /// The result is not of the type that was asked for.
    #[error("the result of task {id} is not of the expected type")]
    Decode {
        /// Its id.
        id: String,
        /// What differs.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration stores no results.
    #[error("results are not stored: results.url is `none` or `rpc://`")]
    NoResults,
    /// The task was sent without asking for a reply, and nothing is stored.
    #[error("nothing tells how task {id} ends: its result is ignored, and results are not stored")]
    NoReply {
        /// Its id.
        id: String,
    },
    /// The task went to every worker, and each has an outcome of its own.
    #[error("task {id} went to every worker: it has not one outcome, but one for each of them")]
    ToAll {
        /// Its id, which is the parent's id of each outcome.
        id: String,
    },
    /// The client was closed by this program.
    #[error("the client was closed by this program")]
    Closed,
    /// There is no store in which a revocation could stand.
    #[error("tasks are revoked in the store of results, and there is none: results.url is `none` or `rpc://`")]
    NoRevocations,
    /// The tasks may be revoked or not: doing it again puts that right.
    #[error("cannot revoke tasks")]
    Revoke(#[source] celeriac_results::Error),
    /// The store of results cannot answer.
    #[error("cannot read results")]
    Results(#[source] celeriac_results::Error),
}

/// What could have told an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// A row in the store.
    Store,
    /// A reply to this process.
    Reply,
    /// Whichever is first.
    StoreOrReply,
    /// Only a reply to the process that sent the task, which is not this one.
    ReplyToAnother,
}

impl Error {
    /// What it is for a sender that a task ended in this state, which is no success.
    pub fn of_end(id: String, state: State, failure: Option<Failure>) -> Self {
        match (state, failure.map(Box::new)) {
            (State::Failure, Some(failure)) => Self::Failed { id, failure },
            (State::Revoked, Some(failure)) if failure.message != "expired" => {
                Self::Revoked { id, terminated: failure.message == "terminated" }
            }
            (state, failure) => Self::NotRun { id, state, failure },
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Send { source, .. } => source.is_retryable(),
            Self::Results(error)
            | Self::Revoke(error)
            | Self::Outbox { source: error, .. }
            | Self::Key { source: error, .. } => error.is_retryable(),
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// What a person can do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Send { source, .. } => source.help(),
            Self::Outbox { source: celeriac_results::Error::Schema { .. }, .. } => {
                Some("the transaction has to be one in the database of results.url, which has the tables")
            }
            Self::Results(error)
            | Self::Revoke(error)
            | Self::Outbox { source: error, .. }
            | Self::Key { source: error, .. } => error.help(),
            Self::NoOutbox { .. } | Self::NoKeys { .. } => Some("set results.url to the Postgres database"),
            Self::NoResults | Self::NoRevocations => Some("set results.url to a Postgres or SQLite database"),
            Self::NoReply { .. } => Some("send the task without ignoring its result"),
            Self::Timeout { awaited, .. } => Some(match awaited {
                Awaited::Store => "does a worker consume the queue, and does it store results in the same place?",
                Awaited::Reply => "does a worker consume the queue, and does it answer with its result?",
                Awaited::StoreOrReply => {
                    "does a worker consume the queue, and does it store results in the same place or answer with them?"
                }
                Awaited::ReplyToAnother => {
                    "a reply reaches only the process that sent the task: wait there, or store results (results.url)"
                }
            }),
            _ => None,
        }
    }
}
