//! Errors of a sender, by what it can do about them.

use std::time::Duration;

use celeriac_protocol::failure::RevokeReason;
use celeriac_protocol::{Failure, TaskState};

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
        /// The reason.
        #[source]
        source: celeriac_broker::Error,
    },
    /// The task was not written to the outbox, and the transaction is lost.
    #[error("cannot write task `{task}` to the outbox")]
    Outbox {
        /// The task.
        task: String,
        /// The reason.
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
        /// The reason.
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
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A call that cannot be meant.
    #[error("task `{task}`: {reason}")]
    Call {
        /// The task.
        task: String,
        /// The mistake.
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
        /// True if it had begun.
        terminated: bool,
    },
    /// The task ended without a result: it has expired, or was rejected.
    #[error("task {id} did not run: {state}{}", .failure.as_ref().map(|failure| format!(", {failure}")).unwrap_or_default())]
    NotRun {
        /// Its id.
        id: String,
        /// Its end.
        state: TaskState,
        /// The reason.
        failure: Option<Box<Failure>>,
    },
    /// No outcome until the deadline. The task may still run.
    #[error("task {id} has no outcome after {waited:?}")]
    Timeout {
        /// Its id.
        id: String,
        /// The time that was waited.
        waited: Duration,
        /// The sources that could have told it.
        awaited: Awaited,
    },
    /// The result is not of the type that was asked for.
    #[error("the result of task {id} is not of the expected type")]
    Decode {
        /// Its id.
        id: String,
        /// The difference.
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

/// The sources that could have told an outcome.
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

/// The kinds of a client's [`Error`], by what can be done about them.
#[derive(Debug, Clone, Copy)]
pub enum ClientErrorKind<'a> {
    /// The task was not sent, or that cannot be known.
    NotSent(&'a celeriac_broker::Error),
    /// The store of results did not take what sends the task: the row of the outbox, or the idempotency key.
    NotWritten(&'a celeriac_results::Error),
    /// The tasks may be revoked or not.
    NotRevoked(&'a celeriac_results::Error),
    /// The store of results cannot answer.
    Results(&'a celeriac_results::Error),
    /// The configuration has no store of results that can do it.
    NoStore,
    /// The task ended without a result.
    TaskEnded,
    /// The task did not end in time.
    Timeout,
    /// The task has no outcome that can be awaited.
    NoOutcome,
    /// The call or its result does not have the expected shape.
    Data,
    /// The client was closed.
    Closed,
}

impl Error {
    /// Returns the error of a task that ended in this state, which is no success.
    pub fn of_end(id: String, state: TaskState, failure: Option<Failure>) -> Self {
        let failure = failure.map(Box::new);
        match (state, failure) {
            (TaskState::Failure, Some(failure)) => Self::Failed { id, failure },
            (TaskState::Revoked, Some(failure)) => match failure.revoke_reason() {
                Some(RevokeReason::Expired) => Self::NotRun { id, state, failure: Some(failure) },
                reason => Self::Revoked { id, terminated: reason == Some(RevokeReason::Terminated) },
            },
            (state, failure) => Self::NotRun { id, state, failure },
        }
    }

    /// Returns what kind of error it is, with its cause where that says more.
    pub fn kind(&self) -> ClientErrorKind<'_> {
        match self {
            Self::Send { source, .. } => ClientErrorKind::NotSent(source),
            Self::Outbox { source, .. } | Self::Key { source, .. } => ClientErrorKind::NotWritten(source),
            Self::Revoke(source) => ClientErrorKind::NotRevoked(source),
            Self::Results(source) => ClientErrorKind::Results(source),
            Self::NoOutbox { .. } | Self::NoKeys { .. } | Self::NoResults | Self::NoRevocations => {
                ClientErrorKind::NoStore
            }
            Self::Failed { .. } | Self::Revoked { .. } | Self::NotRun { .. } => ClientErrorKind::TaskEnded,
            Self::Timeout { .. } => ClientErrorKind::Timeout,
            Self::NoReply { .. } | Self::ToAll { .. } => ClientErrorKind::NoOutcome,
            Self::Encode { .. } | Self::Call { .. } | Self::Decode { .. } => ClientErrorKind::Data,
            Self::Closed => ClientErrorKind::Closed,
        }
    }

    /// Reports whether the same call may succeed later without anybody changing anything.
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

    /// Returns advice for a person.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_task_is_told_from_one_that_was_terminated_and_one_that_expired() {
        let end = |failure: Failure| Error::of_end("t".to_owned(), TaskState::Revoked, Some(failure));
        let of = |reason| end(Failure::revoked(reason));
        assert!(matches!(of(RevokeReason::Revoked), Error::Revoked { terminated: false, .. }));
        assert!(matches!(of(RevokeReason::Terminated), Error::Revoked { terminated: true, .. }));
        assert!(matches!(of(RevokeReason::Expired), Error::NotRun { state: TaskState::Revoked, failure: Some(_), .. }));
        // An error of another class that happens to say the same.
        assert!(matches!(end(Failure::new("Other", "expired")), Error::Revoked { terminated: false, .. }));
    }

    #[test]
    fn each_error_is_of_the_kind_that_says_what_to_do() {
        let id = || "t".to_owned();
        assert!(matches!(Error::ToAll { id: id() }.kind(), ClientErrorKind::NoOutcome));
        assert!(matches!(Error::NoReply { id: id() }.kind(), ClientErrorKind::NoOutcome));
        assert!(matches!(Error::NoRevocations.kind(), ClientErrorKind::NoStore));
        assert!(matches!(Error::Revoked { id: id(), terminated: true }.kind(), ClientErrorKind::TaskEnded));
        let lost = || celeriac_results::Error::Closed;
        assert!(matches!(Error::Revoke(lost()).kind(), ClientErrorKind::NotRevoked(_)));
        assert!(matches!(Error::Key { task: id(), source: lost() }.kind(), ClientErrorKind::NotWritten(_)));
    }
}
