//! Errors of a client, by their remedy.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use celeriac_protocol::failure::RevokeReason;
use celeriac_protocol::{Failure, TaskState};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a client.
///
/// [`Error::kind`] says what it is about, [`Error::is_retryable`] whether the same call may succeed
/// later, [`Error::may_have_been_sent`] whether a task may run nevertheless.
///
/// # Display and source
///
/// `Display` includes the whole reason on one line, because many programs log only `{error}`: ``
/// cannot send task `mail`: no queue takes … ``. [`source`](std::error::Error::source) therefore
/// skips the cause that `Display` includes, and returns the cause of that cause. A printer of
/// chains, such as `{:#}` of `anyhow`, prints nothing twice.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The broker did not take the task, or did not say so.
    Send {
        /// The task.
        task: String,
        /// The reason.
        source: celeriac_broker::Error,
    },
    /// The task was not written to the outbox, and the transaction is lost.
    Outbox {
        /// The task.
        task: String,
        /// The reason.
        source: celeriac_results::Error,
    },
    /// There is no outbox to write to.
    NoOutbox {
        /// The task.
        task: String,
    },
    /// The idempotency key of the task could not be looked up. This call sent nothing.
    Key {
        /// The task.
        task: String,
        /// The reason.
        source: celeriac_results::Error,
    },
    /// Another submission under the idempotency key was not confirmed in time. This call sent
    /// nothing.
    KeyClaimed {
        /// The task.
        task: String,
        /// The idempotency key.
        key: String,
        /// The task id of the other submission.
        id: String,
        /// The time waited for its confirm.
        source: Box<celeriac_broker::Error>,
    },
    /// There is no store for idempotency keys.
    NoKeys {
        /// The task.
        task: String,
    },
    /// The arguments cannot be serialized.
    Encode {
        /// The task.
        task: String,
        /// The reason.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The options of the call conflict.
    Call {
        /// The task.
        task: String,
        /// The conflict.
        reason: String,
    },
    /// The task ended with an error.
    Failed {
        /// Its id.
        id: String,
        /// Its error.
        failure: Box<Failure>,
    },
    /// The task was revoked.
    Revoked {
        /// Its id.
        id: String,
        /// True if it had started.
        terminated: bool,
    },
    /// The task ended without a result: it expired, or it was rejected.
    NotRun {
        /// Its id.
        id: String,
        /// Its final state.
        state: TaskState,
        /// The reason.
        failure: Option<Box<Failure>>,
    },
    /// The task did not end before the deadline. It may still run.
    Timeout {
        /// Its id.
        id: String,
        /// The time waited.
        waited: Duration,
        /// The sources that the outcome was awaited from.
        awaited: Awaited,
    },
    /// The result is not of the type that the caller asked for.
    Decode {
        /// Its id.
        id: String,
        /// The difference.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The configuration stores no results.
    NoResults,
    /// The result of the task is ignored, by the call or by the task. Its outcome is not kept.
    Ignored {
        /// Its id.
        id: String,
    },
    /// Nothing is known of the task: this client did not send it, and the store has no row of it.
    ///
    /// By default a task has a row once its first attempt has ended, so it may wait or run. It may
    /// also have ended so long ago that its row is deleted, or the id may be wrong.
    Unknown {
        /// The id.
        id: String,
    },
    /// The task went to every worker. Each worker has an outcome of its own.
    ToAll {
        /// Its id, which is the parent id of each outcome.
        id: String,
    },
    /// A running task may not wait for another one: see [`Client::allow_sync_subtasks`].
    ///
    /// [`Client::allow_sync_subtasks`]: crate::Client::allow_sync_subtasks
    WaitInTask {
        /// The id of the task that it would wait for.
        id: String,
        /// The id of the running task.
        waiter: String,
    },
    /// This program closed the client.
    Closed,
    /// There is no store for revocations.
    NoRevocations,
    /// A remote command was not sent, or that cannot be known.
    Control {
        /// The command.
        command: String,
        /// The reason.
        source: Box<celeriac_broker::Error>,
    },
    /// The store did not confirm the revocation. The tasks may be revoked or not: revoke them
    /// again.
    Revoke(celeriac_results::Error),
    /// The result store cannot answer.
    Results(celeriac_results::Error),
}

/// Sources of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// A row in the store.
    Store,
    /// A reply to this process.
    Reply,
    /// A row or a reply, whichever is first.
    StoreOrReply,
    /// Only a reply to the process that sent the task, which is not this one.
    ReplyToAnother,
}

/// The kinds of a client's [`Error`], by what can be done about them.
#[derive(Debug, Clone, Copy)]
pub enum ClientErrorKind<'a> {
    /// The task or the command was not sent, or that cannot be known.
    NotSent(&'a celeriac_broker::Error),
    /// The result store did not take the outbox row or the idempotency key.
    NotWritten(&'a celeriac_results::Error),
    /// The tasks may be revoked or not.
    NotRevoked(&'a celeriac_results::Error),
    /// The store of results cannot answer.
    Results(&'a celeriac_results::Error),
    /// The configuration has no result store that supports the call.
    NoStore,
    /// The task ended without a result.
    TaskEnded,
    /// The task did not end in time.
    Timeout,
    /// Nothing is known of the task.
    Unknown,
    /// The task has no outcome that can be awaited.
    NoOutcome,
    /// A running task may not wait for another one.
    WaitInTask,
    /// The call or its result does not have the expected shape.
    Data,
    /// The client was closed.
    Closed,
}

impl Error {
    /// Returns the error of a remote command.
    pub(crate) fn control(command: &str, source: celeriac_broker::Error) -> Self {
        Self::Control { command: command.to_owned(), source: Box::new(source) }
    }

    /// Returns the error of a task that ended in this state, which is not a success.
    #[doc(hidden)]
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

    /// Returns the kind of the error, with its cause if there is one.
    pub fn kind(&self) -> ClientErrorKind<'_> {
        match self {
            Self::Send { source, .. } => ClientErrorKind::NotSent(source),
            Self::KeyClaimed { source, .. } | Self::Control { source, .. } => ClientErrorKind::NotSent(source),
            Self::Outbox { source, .. } | Self::Key { source, .. } => ClientErrorKind::NotWritten(source),
            Self::Revoke(source) => ClientErrorKind::NotRevoked(source),
            Self::Results(source) => ClientErrorKind::Results(source),
            Self::NoOutbox { .. } | Self::NoKeys { .. } | Self::NoResults | Self::NoRevocations => {
                ClientErrorKind::NoStore
            }
            Self::Failed { .. } | Self::Revoked { .. } | Self::NotRun { .. } => ClientErrorKind::TaskEnded,
            Self::Timeout { .. } => ClientErrorKind::Timeout,
            Self::Unknown { .. } => ClientErrorKind::Unknown,
            Self::Ignored { .. } | Self::ToAll { .. } => ClientErrorKind::NoOutcome,
            Self::WaitInTask { .. } => ClientErrorKind::WaitInTask,
            Self::Encode { .. } | Self::Call { .. } | Self::Decode { .. } => ClientErrorKind::Data,
            Self::Closed => ClientErrorKind::Closed,
        }
    }

    /// Returns true if the same call may succeed later without a change.
    ///
    /// It does not say that nothing was sent: see [`Error::may_have_been_sent`]. A call with a task
    /// id or an [idempotency key](crate::Call::idempotency_key) can be repeated either way.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Send { source, .. } => source.is_retryable(),
            Self::KeyClaimed { source, .. } | Self::Control { source, .. } => source.is_retryable(),
            Self::Outbox { source, .. } | Self::Key { source, .. } | Self::Revoke(source) | Self::Results(source) => {
                source.is_retryable()
            }
            Self::Timeout { .. } | Self::Unknown { .. } => true,
            Self::NoOutbox { .. }
            | Self::NoKeys { .. }
            | Self::Encode { .. }
            | Self::Call { .. }
            | Self::Failed { .. }
            | Self::Revoked { .. }
            | Self::NotRun { .. }
            | Self::Decode { .. }
            | Self::NoResults
            | Self::Ignored { .. }
            | Self::ToAll { .. }
            | Self::WaitInTask { .. }
            | Self::Closed
            | Self::NoRevocations => false,
        }
    }

    /// Returns false if this call certainly sent no task, true if it did or may have.
    ///
    /// After `false` the caller can submit again without a second task. After `true` only a
    /// repetition with the same [task id](crate::Call::task_id) or the same [idempotency
    /// key](crate::Call::idempotency_key) runs once. Errors of awaiting and revoking concern a task
    /// that was sent: true.
    ///
    /// ```no_run
    /// use celeriac::prelude::*;
    ///
    /// # #[task]
    /// # async fn charge(cents: i64) -> TaskResult<()> { Ok(()) }
    /// # async fn example(client: &Client) -> Result<(), celeriac::ClientError> {
    /// match charge(1299).submit(client).await {
    ///     Ok(_) => println!("charging"),
    ///     Err(error) if error.may_have_been_sent() => println!("perhaps charging: {error}"),
    ///     Err(error) => println!("not charging: {error}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            Self::Send { source, .. } => source.may_have_been_sent(),
            Self::KeyClaimed { source, .. } | Self::Control { source, .. } => source.may_have_been_sent(),
            Self::Outbox { .. }
            | Self::NoOutbox { .. }
            | Self::Key { .. }
            | Self::NoKeys { .. }
            | Self::Encode { .. }
            | Self::Call { .. } => false,
            Self::Failed { .. }
            | Self::Revoked { .. }
            | Self::NotRun { .. }
            | Self::Timeout { .. }
            | Self::Decode { .. }
            | Self::NoResults
            | Self::Ignored { .. }
            | Self::Unknown { .. }
            | Self::ToAll { .. }
            | Self::WaitInTask { .. }
            | Self::Closed
            | Self::NoRevocations
            | Self::Revoke(_)
            | Self::Results(_) => true,
        }
    }

    /// Returns advice for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Send { source, .. } => source.help(),
            Self::Control { source, .. } => source.help(),
            Self::KeyClaimed { .. } => Some("submit it again with the same key: it runs once"),
            Self::Outbox { source: celeriac_results::Error::Schema { .. }, .. } => {
                Some("the transaction has to be one in the database of results.url, which has the tables")
            }
            Self::Results(error)
            | Self::Revoke(error)
            | Self::Outbox { source: error, .. }
            | Self::Key { source: error, .. } => error.help(),
            Self::NoOutbox { .. } | Self::NoKeys { .. } => Some("set results.url to the Postgres database"),
            Self::NoResults | Self::NoRevocations => Some("set results.url to a Postgres or SQLite database"),
            Self::Ignored { .. } => Some("send the task without ignoring its result"),
            Self::WaitInTask { .. } => Some(
                "let a task follow from the result (.link, Chain, Chord), or wait with \
                 ctx.client().allow_sync_subtasks() if other workers run that task",
            ),
            Self::Unknown { .. } => Some(
                "check the id; by default a task has no row before its first attempt has ended (results.track), and none \
                 after results.retention",
            ),
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
            Self::Encode { .. }
            | Self::Call { .. }
            | Self::Failed { .. }
            | Self::Revoked { .. }
            | Self::NotRun { .. }
            | Self::Decode { .. }
            | Self::ToAll { .. }
            | Self::Closed => None,
        }
    }

    /// Returns the cause that `Display` includes.
    fn cause(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Send { source, .. } => Some(source),
            Self::KeyClaimed { source, .. } | Self::Control { source, .. } => Some(&**source),
            Self::Outbox { source, .. } | Self::Key { source, .. } | Self::Revoke(source) | Self::Results(source) => {
                Some(source)
            }
            Self::Encode { source, .. } | Self::Decode { source, .. } => Some(&**source),
            Self::NoOutbox { .. }
            | Self::NoKeys { .. }
            | Self::Call { .. }
            | Self::Failed { .. }
            | Self::Revoked { .. }
            | Self::NotRun { .. }
            | Self::Timeout { .. }
            | Self::NoResults
            | Self::Ignored { .. }
            | Self::Unknown { .. }
            | Self::ToAll { .. }
            | Self::WaitInTask { .. }
            | Self::Closed
            | Self::NoRevocations => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { task, .. } => write!(formatter, "cannot send task `{task}`"),
            Self::Control { command, .. } => write!(formatter, "cannot send remote command `{command}`"),
            Self::Outbox { task, .. } => write!(formatter, "cannot write task `{task}` to the outbox"),
            Self::NoOutbox { task } => {
                write!(formatter, "cannot send task `{task}` in a transaction: results.url is not a Postgres database")
            }
            Self::Key { task, .. } => write!(formatter, "cannot look up the idempotency key of task `{task}`"),
            Self::KeyClaimed { task, key, id, .. } => write!(
                formatter,
                "cannot send task `{task}`: another program is sending it under the idempotency key `{key}`, as {id}"
            ),
            Self::NoKeys { task } => write!(
                formatter,
                "cannot send task `{task}` with an idempotency key: results.url is not a Postgres database"
            ),
            Self::Encode { task, .. } => write!(formatter, "cannot serialize the arguments of task `{task}`"),
            Self::Call { task, reason } => write!(formatter, "task `{task}`: {reason}"),
            Self::Failed { id, failure } => write!(formatter, "task {id} failed: {failure}"),
            Self::Revoked { id, terminated: true } => write!(formatter, "task {id} was terminated while it ran"),
            Self::Revoked { id, terminated: false } => write!(formatter, "task {id} was revoked before it began"),
            Self::NotRun { id, state, failure: None } => write!(formatter, "task {id} did not run: {state}"),
            Self::NotRun { id, state, failure: Some(failure) } => {
                write!(formatter, "task {id} did not run: {state}, {failure}")
            }
            Self::Timeout { id, waited, .. } => write!(formatter, "task {id} has no outcome after {waited:?}"),
            Self::Decode { id, .. } => write!(formatter, "the result of task {id} is not of the expected type"),
            Self::NoResults => formatter.write_str("results are not stored: results.url is `none` or `rpc://`"),
            Self::Ignored { id } => write!(formatter, "the result of task {id} is ignored, and is not kept"),
            Self::Unknown { id } => {
                write!(formatter, "task {id} is unknown: it was not sent here, and the result store has no row of it")
            }
            Self::ToAll { id } => {
                write!(formatter, "task {id} was broadcast: query the outcomes of its workers by parent_id")
            }
            Self::WaitInTask { id, waiter } => {
                write!(formatter, "task {waiter} cannot wait for task {id}: both may need the same slot of a worker")
            }
            Self::Closed => formatter.write_str("the client was closed by this program"),
            Self::NoRevocations => formatter.write_str(
                "cannot revoke tasks: revocations are in the result store, and results.url is `none` or `rpc://`",
            ),
            Self::Revoke(_) => formatter.write_str("cannot revoke tasks"),
            Self::Results(_) => formatter.write_str("cannot read results"),
        }?;
        match self.cause() {
            Some(cause) => write!(formatter, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    /// Returns the cause of the cause that `Display` includes.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause()?.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_a_terminated_and_an_expired_task_end_with_different_errors() {
        let end = |failure: Failure| Error::of_end("t".to_owned(), TaskState::Revoked, Some(failure));
        let of = |reason| end(Failure::revoked(reason));
        assert!(matches!(of(RevokeReason::Revoked), Error::Revoked { terminated: false, .. }));
        assert!(matches!(of(RevokeReason::Terminated), Error::Revoked { terminated: true, .. }));
        assert!(matches!(of(RevokeReason::Expired), Error::NotRun { state: TaskState::Revoked, failure: Some(_), .. }));
        // Another error with the same message.
        assert!(matches!(end(Failure::new("Other", "expired")), Error::Revoked { terminated: false, .. }));
    }

    #[test]
    fn each_error_is_of_the_kind_that_says_what_to_do() {
        let id = || "t".to_owned();
        assert!(matches!(Error::ToAll { id: id() }.kind(), ClientErrorKind::NoOutcome));
        assert!(matches!(Error::Ignored { id: id() }.kind(), ClientErrorKind::NoOutcome));
        assert!(matches!(Error::Unknown { id: id() }.kind(), ClientErrorKind::Unknown));
        assert!(matches!(Error::NoRevocations.kind(), ClientErrorKind::NoStore));
        assert!(matches!(Error::Revoked { id: id(), terminated: true }.kind(), ClientErrorKind::TaskEnded));
        let lost = || celeriac_results::Error::Closed;
        assert!(matches!(Error::Revoke(lost()).kind(), ClientErrorKind::NotRevoked(_)));
        assert!(matches!(Error::Key { task: id(), source: lost() }.kind(), ClientErrorKind::NotWritten(_)));
    }
    #[test]
    fn an_error_says_its_reason_and_a_chain_does_not_say_it_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("not an order")]
        struct Unreadable(#[source] fmt::Error);
        let error = Error::Decode { id: "t".to_owned(), source: Box::new(Unreadable(fmt::Error)) };
        assert_eq!(error.to_string(), "the result of task t is not of the expected type: not an order");
        assert_eq!(error.source().unwrap().to_string(), fmt::Error.to_string());
        let closed = Error::Results(celeriac_results::Error::Closed);
        assert_eq!(closed.to_string(), "cannot read results: the result store was closed by this program");
        assert!(closed.source().is_none());
    }

    #[test]
    fn each_error_says_whether_a_task_may_have_been_sent() {
        let id = || "t".to_owned();
        let lost = || celeriac_results::Error::Closed;
        let unsent = celeriac_broker::Error::NoSuchExchange { exchange: id() };
        let doubtful = celeriac_broker::Error::Unconfirmed { waited: Duration::ZERO };
        let failure = || Box::new(Failure::new("E", "no"));
        for error in [
            Error::Send { task: id(), source: unsent },
            Error::Outbox { task: id(), source: lost() },
            Error::NoOutbox { task: id() },
            Error::Key { task: id(), source: lost() },
            Error::NoKeys { task: id() },
            Error::Encode { task: id(), source: "no".into() },
            Error::Call { task: id(), reason: id() },
        ] {
            assert!(!error.may_have_been_sent(), "{error}");
        }
        for error in [
            Error::KeyClaimed {
                task: id(),
                key: id(),
                id: id(),
                source: Box::new(celeriac_broker::Error::Unconfirmed { waited: Duration::ZERO }),
            },
            Error::Send { task: id(), source: doubtful },
            Error::Failed { id: id(), failure: failure() },
            Error::Revoked { id: id(), terminated: false },
            Error::NotRun { id: id(), state: TaskState::Rejected, failure: None },
            Error::Timeout { id: id(), waited: Duration::ZERO, awaited: Awaited::Store },
            Error::Decode { id: id(), source: "no".into() },
            Error::NoResults,
            Error::Ignored { id: id() },
            Error::Unknown { id: id() },
            Error::ToAll { id: id() },
            Error::WaitInTask { id: id(), waiter: id() },
            Error::Closed,
            Error::NoRevocations,
            Error::Revoke(lost()),
            Error::Results(lost()),
        ] {
            assert!(error.may_have_been_sent(), "{error}");
        }
    }
}
