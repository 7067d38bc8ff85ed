//! What can go wrong between a program and its broker, by what the program can do about it.

mod tls;

use std::time::Duration;

pub use tls::TlsFault;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No queue is bound where the message was sent: it is on no queue.
    #[error("unroutable: {}", nobody(exchange, routing_key))]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The exchange does not exist: the message is on no queue.
    #[error("exchange `{exchange}` does not exist")]
    NoSuchExchange {
        /// The exchange.
        exchange: String,
    },
    /// The queue does not exist.
    #[error("queue `{queue}` does not exist")]
    NoSuchQueue {
        /// The queue.
        queue: String,
    },
    /// The broker refused the message (`basic.nack`) again and again, as a full queue does: it is on no queue.
    #[error("the broker refused the message for exchange `{exchange}` with routing key `{routing_key}`")]
    Refused {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The message has no destination: it was not sent.
    #[error(transparent)]
    Route(#[from] celeriac_topology::Error),
    /// The message has more bytes than allowed: it was not sent.
    #[error("the message has {size} bytes, allowed are {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The headers have more bytes than fit one frame with what is added on the way: the message was not sent.
    #[error("the headers have {size} bytes, allowed are {limit}; the largest is `{name}` with {largest}")]
    HeadersTooLarge {
        /// Their size together.
        size: usize,
        /// The bound.
        limit: usize,
        /// The largest of them.
        name: String,
        /// Its size.
        largest: usize,
    },
    /// The broker took no messages until the deadline (`connection.blocked`). A message that was on its way when that
    /// began may be queued once it ends.
    #[error("the broker has been blocking publishers for {waited:.1?}: {reason}")]
    Blocked {
        /// The broker's reason.
        reason: String,
        /// How long this message waited.
        waited: Duration,
    },
    /// No connection until the deadline.
    #[error("no connection to {url} within {waited:.1?}")]
    Unreachable {
        /// The broker, without password.
        url: String,
        /// How long was waited.
        waited: Duration,
        /// The last attempt's error.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// No confirm until the deadline: the message may be on a queue or not.
    #[error("the broker has not confirmed the message within {waited:.1?}; it may have been queued")]
    Unconfirmed {
        /// How long was waited.
        waited: Duration,
    },
    /// The broker does not let this user in, or not there.
    #[error("{url} refused access: {reason}")]
    Denied {
        /// The broker, without password.
        url: String,
        /// What it said.
        reason: String,
    },
    /// Broker and program do not trust each other, so there is no TLS between them.
    #[error("no TLS with {url}: {fault}")]
    Untrusted {
        /// The broker, without password.
        url: String,
        /// Why.
        fault: TlsFault,
    },
    /// Something exists on the broker, but not as it is configured.
    #[error("cannot declare {object}: {argument} is {found} on the broker, {expected} in the configuration")]
    Mismatch {
        /// What it is, such as ``queue `mail` ``.
        object: String,
        /// The argument that differs.
        argument: String,
        /// Its value on the broker.
        found: String,
        /// Its value in the configuration.
        expected: String,
    },
    /// What is needed is not there, and this program does not make it.
    #[error("not on the broker: {}", objects.join(", "))]
    Absent {
        /// What it is, such as ``queue `mail` ``.
        objects: Vec<String>,
    },
    /// A queue has no place at an exchange, and this program may not give it one.
    #[error("queue `{queue}` is not bound to exchange `{exchange}` with key `{key}`: what is delayed would be lost")]
    NotBound {
        /// The queue.
        queue: String,
        /// The exchange.
        exchange: String,
        /// The binding key.
        key: String,
    },
    /// A look through a queue was cut short: everything is back on it that was not removed.
    #[error("the look through queue `{queue}` was cut short: {reason}")]
    LookLost {
        /// The queue.
        queue: String,
        /// What went wrong.
        reason: String,
    },
    /// The broker's version, or a queue of this kind on it, cannot do what is configured.
    #[error("cannot declare queue `{queue}`: this broker does not take {option}: {reason}")]
    Unsupported {
        /// The queue.
        queue: String,
        /// The argument, and its value in the configuration.
        option: String,
        /// What the broker said.
        reason: String,
    },
    /// The broker was closed by this program.
    #[error("the connection to the broker was closed by this program")]
    Closed,
    /// A setting that cannot be used.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else that the AMQP client reports.
    #[error("{doing} failed")]
    Amqp {
        /// What was being done.
        doing: String,
        /// What the client reports.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Blocked { .. }
                | Self::Unreachable { .. }
                | Self::Unconfirmed { .. }
                | Self::Refused { .. }
                | Self::LookLost { .. }
                | Self::Amqp { .. }
        )
    }

    /// Whether a message that failed with this error may be on a queue nevertheless.
    pub fn may_be_queued(&self) -> bool {
        matches!(
            self,
            Self::Blocked { .. } | Self::Unconfirmed { .. } | Self::Refused { .. } | Self::Closed | Self::Amqp { .. }
        )
    }

    /// Whether the broker could not be reached or was lost.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unconfirmed { .. } | Self::LookLost { .. })
    }

    /// What a person can do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unroutable { .. } => {
                Some("declare the queue in config/routes.yaml and bind it, or correct the route")
            }
            Self::NoSuchExchange { .. } => Some("declare the exchange under `exchanges` in config/routes.yaml"),
            Self::NoSuchQueue { .. } => Some(
                "declare the queue under `queues` in config/routes.yaml; one that is `foreign` there is made by its owner",
            ),
            Self::Route(error) => error.help(),
            Self::Refused { .. } => Some("the queue is probably full: look at its length limit and its consumers"),
            Self::TooLarge { .. } => {
                Some("store the payload elsewhere and send a reference, or raise broker.max_message_size")
            }
            Self::HeadersTooLarge { .. } => {
                Some("pass large values as arguments of the task, or store them elsewhere and send a reference")
            }
            Self::Blocked { .. } => Some("the broker is short of memory or disk: look at its alarms"),
            Self::Unreachable { .. } => Some("is the broker running, and is broker.url right?"),
            Self::Unconfirmed { .. } => Some("submit again with the same task id: a worker records one outcome per id"),
            Self::Denied { .. } => Some("check user, password, virtual host and permissions of broker.url"),
            Self::Untrusted { fault, .. } => Some(fault.help()),
            Self::Mismatch { .. } => Some(
                "change the configuration to what exists; or `celeriac topology plan` names the way to what is configured, such as \
                 `celeriac topology migrate`, which moves the tasks that wait",
            ),
            Self::Absent { .. } => {
                Some("run `celeriac topology apply` as a user who may configure, or set broker.declare")
            }
            Self::NotBound { .. } => Some(
                "have somebody bind it who may configure the broker, such as a worker started once with that permission",
            ),
            Self::LookLost { .. } => Some("do it again: what was not removed is back on the queue"),
            Self::Unsupported { .. } => Some("leave that option out, or use a queue of another type or a newer broker"),
            Self::Closed | Self::Invalid { .. } | Self::Amqp { .. } => None,
        }
    }
}

/// The default exchange knows every queue by its name, so there the routing key is what is missing.
fn nobody(exchange: &str, routing_key: &str) -> String {
    if exchange.is_empty() {
        return format!("there is no queue `{routing_key}`");
    }
    format!("no queue takes messages of exchange `{exchange}` with routing key `{routing_key}`")
}
