//! Why a call has no destination.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call asks for a way that is not declared: it was not sent.
    #[error("no route for task `{task}`: {reason}")]
    NoRoute {
        /// Name of the task.
        task: String,
        /// The mistake in the call.
        reason: String,
    },
    /// A function decides where the call goes, and another program has it: it was not sent.
    #[error(
        "task_routes[{index}] leaves the way of task `{task}` to function `{function}`, which is not in this program"
    )]
    RoutedElsewhere {
        /// Name of the task.
        task: String,
        /// Index of the line of `task_routes`, from 0.
        index: usize,
        /// The function.
        function: String,
    },
    /// A delayed message is addressed to one queue by its name, and the destination is not one queue.
    #[error("cannot delay a message for exchange `{exchange}` with routing key `{routing_key}`: {reason}")]
    Undelayable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
        /// Why there is not one queue.
        reason: String,
    },
    /// A setting that cannot be used.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The mistake.
        reason: String,
    },
}

impl Error {
    /// Returns a remedy for a person.
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
