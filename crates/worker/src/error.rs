//! Reasons why a worker cannot start or continue.

use celeriac_config::did_you_mean;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two tasks have the same name.
    #[error("two tasks are named `{name}`")]
    DuplicateTask {
        /// The name.
        name: &'static str,
    },
    /// The worker has no such task.
    #[error("no task is named `{name}` here{}", did_you_mean(.nearest.as_ref()))]
    UnknownTask {
        /// The name.
        name: String,
        /// The most similar name of a task.
        nearest: Option<String>,
    },
    /// No configuration declares the queue.
    #[error("queue `{queue}` is not declared{}", did_you_mean(.nearest.as_ref()))]
    UnknownQueue {
        /// The queue.
        queue: String,
        /// The most similar name of a declared queue.
        nearest: Option<String>,
    },
    /// Workers do not consume queues of this kind.
    #[error("queue `{queue}` is a stream, which keeps what is read: its tasks would run again and again")]
    Stream {
        /// The queue.
        queue: String,
    },
    /// A task needs a transaction, and the store has none.
    #[error(
        "task `{task}` is transactional, and results.url is no Postgres database, in whose transactions it could work"
    )]
    NoTransactions {
        /// The task.
        task: &'static str,
    },
    /// The relay has no outbox.
    #[error("there is no outbox to relay: results.url is no Postgres database")]
    NoOutbox,
    /// The broker refuses an operation that this worker needs.
    #[error("cannot consume")]
    Broker(#[source] celeriac_broker::Error),
}

impl Error {
    /// Returns a remedy for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateTask { .. } => Some("give one of them another name: #[task(name = \"…\")]"),
            Self::UnknownTask { .. } => Some("`celeriac list tasks` of the worker's program names those it has"),
            Self::UnknownQueue { .. } => Some("declare it under `queues` in config/routes.yaml"),
            Self::Stream { .. } => Some("bind a queue of type quorum beside it, and consume that"),
            Self::NoTransactions { .. } => Some("set results.url to the Postgres database in which the task works"),
            Self::NoOutbox => Some("set results.url to the database in whose transactions tasks are sent"),
            Self::Broker(error) => error.help(),
        }
    }
}
