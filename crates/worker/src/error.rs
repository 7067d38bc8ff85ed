//! Why a worker cannot start or go on.

use celeriac_config::did_you_mean;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two tasks of one name.
    #[error("two tasks are named `{name}`")]
    DuplicateTask {
        /// The name.
        name: &'static str,
    },
    /// A task that the worker does not have.
    #[error("no task is named `{name}` here{}", did_you_mean(.nearest.as_ref()))]
    UnknownTask {
        /// The name.
        name: String,
        /// The task most like it.
        nearest: Option<String>,
    },
    /// A queue that no configuration declares.
    #[error("queue `{queue}` is not declared{}", did_you_mean(.nearest.as_ref()))]
    UnknownQueue {
        /// The queue.
        queue: String,
        /// The declared queue most like it.
        nearest: Option<String>,
    },
    /// A queue that workers do not consume.
    #[error("queue `{queue}` is a stream, which keeps what is read: its tasks would run again and again")]
    Stream {
        /// The queue.
        queue: String,
    },
    /// A task that works in a transaction, and a store that has none.
    #[error(
        "task `{task}` is transactional, and results.url is no Postgres database, in whose transactions it could work"
    )]
    NoTransactions {
        /// The task.
        task: &'static str,
    },
    /// A relay without anything to relay.
    #[error("there is no outbox to relay: results.url is no Postgres database")]
    NoOutbox,
    /// The broker does not let this worker do what it needs.
    #[error("cannot consume")]
    Broker(#[source] celeriac_broker::Error),
}

impl Error {
    /// Advice to the person who sees it.
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
