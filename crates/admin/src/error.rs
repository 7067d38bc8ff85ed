//! Errors of the operator's tools, by their remedy.

use celeriac_broker::Error as BrokerError;
use celeriac_telemetry::ErrorChain;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the broker over AMQP.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A request to the management API failed.
    #[error("cannot {doing} over the management API at {url}: {}", ErrorChain(&**source))]
    Management {
        /// The request, such as `list queues`.
        doing: String,
        /// The API, without password.
        url: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The management API refused access.
    #[error("{url} refused access: {reason}")]
    Denied {
        /// The API, without password.
        url: String,
        /// The answer of the API.
        reason: String,
    },
    /// A setting is invalid.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The problem.
        reason: String,
    },
}

impl Error {
    /// Returns true if the same call may succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_retryable(),
            Self::Management { .. } => true,
            Self::Denied { .. } | Self::Invalid { .. } => false,
        }
    }

    /// Returns the remedy.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Broker(error) => error.help(),
            Self::Management { .. } => Some(
                "check that the management plugin is on, that broker.management_url is right, and that its user has the tag `management`",
            ),
            Self::Denied { .. } => Some(
                "check user, password, virtual host and permissions of broker.url, or of broker.management_url if that is set",
            ),
            Self::Invalid { .. } => None,
        }
    }
}
