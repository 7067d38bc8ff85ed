//! Reasons why a worker cannot start or continue.

use std::panic::Location;
use std::sync::Arc;

use celeriac_config::did_you_mean;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two tasks have the same name, or one task is listed twice.
    #[error("{}", duplicate(name, first, second))]
    DuplicateTask {
        /// The name.
        name: &'static str,
        /// The definition that is listed first.
        first: &'static Location<'static>,
        /// The definition that is listed after it.
        second: &'static Location<'static>,
    },
    /// The worker has no such task.
    #[error("no task has the name `{name}`{}", did_you_mean(.nearest.as_ref()))]
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
    #[error("cannot consume queue `{queue}`: it is a stream, and keeps messages after they are read")]
    Stream {
        /// The queue.
        queue: String,
    },
    /// A task needs a transaction, and the store has none.
    #[error("task `{task}` is transactional, and results.url is no Postgres database")]
    NoTransactions {
        /// The task.
        task: &'static str,
    },
    /// The relay has no outbox.
    #[error("cannot relay the outbox: results.url is no Postgres database")]
    NoOutbox,
    /// A service of the worker or of the relay ended before its stop.
    #[error("stopped, because a service ended: {service}: {reason}")]
    ServiceEnded {
        /// The service.
        service: Arc<str>,
        /// The message of its panic, or another reason.
        reason: Arc<str>,
    },
    /// The broker refuses an operation that this worker needs.
    #[error("cannot consume: {0}")]
    Broker(#[source] celeriac_broker::Error),
}

impl Error {
    /// Returns the error of the broker, if that is the cause.
    pub fn broker(&self) -> Option<&celeriac_broker::Error> {
        match self {
            Self::Broker(error) => Some(error),
            Self::DuplicateTask { .. }
            | Self::UnknownTask { .. }
            | Self::UnknownQueue { .. }
            | Self::Stream { .. }
            | Self::NoTransactions { .. }
            | Self::NoOutbox
            | Self::ServiceEnded { .. } => None,
        }
    }

    /// Returns a remedy for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::DuplicateTask { first, second, .. } if first == second => {
                Some("list the task once: in one `tasks![…]`, and in one module")
            }
            Self::DuplicateTask { .. } => Some("give one of them another name: #[task(name = \"…\")]"),
            Self::UnknownTask { .. } => Some("run `celeriac list tasks` in the worker's program to see its tasks"),
            Self::UnknownQueue { .. } => Some("declare it under `queues` in config/routes.yaml"),
            Self::Stream { .. } => Some("bind a queue of type quorum beside the stream, and consume that queue"),
            Self::NoTransactions { .. } => Some("set results.url to the Postgres database of the task"),
            Self::NoOutbox => Some("set results.url to the Postgres database that holds the outbox"),
            Self::ServiceEnded { .. } => Some("start the program again, and report a panic: it is a defect"),
            Self::Broker(error) => error.help(),
        }
    }
}

fn duplicate(name: &str, first: &Location<'_>, second: &Location<'_>) -> String {
    let place = |location: &Location<'_>| format!("{}:{}", location.file(), location.line());
    if first == second {
        return format!("task `{name}` is listed twice; it is defined at {}", place(first));
    }
    format!("two tasks have the name `{name}`: at {} and at {}", place(first), place(second))
}
