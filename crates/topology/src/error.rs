//! Errors of routing.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call names an undeclared destination. It was not sent.
    #[error("no route for task `{task}`: {reason}")]
    NoRoute {
        /// Name of the task.
        task: String,
        /// The problem of the call.
        reason: String,
    },
    /// A function of another program chooses the destination. The call was not sent.
    #[error("task_routes[{index}] routes task `{task}` by function `{function}`, which this program does not have")]
    RoutedElsewhere {
        /// Name of the task.
        task: String,
        /// Index of the line of `task_routes`, from 0.
        index: usize,
        /// The function.
        function: String,
    },
    /// The destination of a delayed message is not exactly one queue.
    #[error("cannot delay a message for exchange `{exchange}` with routing key `{routing_key}`: {reason}")]
    Undelayable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
        /// The reason.
        reason: String,
    },
    /// A setting has an invalid value.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The problem.
        reason: String,
    },
}

impl Error {
    /// Returns the remedy, for people.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoRoute { .. } => Some("declare the queue in config/routes.yaml, or correct the call"),
            Self::RoutedElsewhere { .. } => {
                Some("ask the program's own binary, which has the function, or name the queue (--queue)")
            }
            Self::Undelayable { .. } => Some("send delayed tasks to a queue, or bind exactly one queue to that key"),
            Self::Invalid { .. } => None,
        }
    }
}
