//! Errors between a program and its broker, by the remedy of the program.

mod tls;

use std::time::Duration;

use celeriac_config::duration;
use celeriac_telemetry::ErrorChain;
pub use tls::TlsFault;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No queue is bound at the destination. The message is on no queue.
    #[error("message unroutable: {}", nobody(exchange, routing_key))]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The exchange does not exist. The message is on no queue.
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
    /// Another connection has a queue of this name for itself.
    #[error("queue `{queue}` belongs to another connection")]
    QueueLocked {
        /// The queue.
        queue: String,
    },
    /// The broker refused the message (`basic.nack`) at every attempt, as a full queue does. The
    /// message is on no queue.
    #[error("message refused by the broker: exchange `{exchange}`, routing key `{routing_key}`")]
    Refused {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The message has no destination. It was not sent.
    #[error(transparent)]
    Route(#[from] celeriac_topology::Error),
    /// The message is larger than allowed. It was not sent.
    #[error("message too large: {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The size of the message.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The headers, with those that RabbitMQ and workers add, do not fit in one frame. The message
    /// was not sent.
    #[error("headers too large: {size} bytes, the limit is {limit}; the largest is `{name}` with {largest}")]
    HeadersTooLarge {
        /// The size of all headers.
        size: usize,
        /// The limit.
        limit: usize,
        /// The name of the largest header.
        name: String,
        /// The size of the largest header.
        largest: usize,
    },
    /// The broker blocked publishing until the deadline (`connection.blocked`).
    ///
    /// If the message was already sent, it may be queued when the block ends.
    #[error("publishing blocked by the broker for {}: {reason}", duration::approximate(*waited))]
    Blocked {
        /// The broker's reason.
        reason: String,
        /// Time that this message waited.
        waited: Duration,
    },
    /// There was no connection until the deadline.
    #[error("no connection to {url} within {}{}", duration::approximate(*waited), cause(source.as_deref()))]
    Unreachable {
        /// The broker, without password.
        url: String,
        /// Time spent waiting.
        waited: Duration,
        /// The error of the last attempt.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// There was no confirm until the deadline. The message may be on a queue or not.
    #[error("message not confirmed within {}: it may be on a queue", duration::approximate(*waited))]
    Unconfirmed {
        /// Time spent waiting.
        waited: Duration,
    },
    /// This user may not publish to the exchange, or the exchange is internal. The message is on no
    /// queue.
    #[error("publishing to exchange `{exchange}` refused: {reason}")]
    AccessRefused {
        /// The exchange.
        exchange: String,
        /// The broker's reply.
        reason: String,
    },
    /// The broker does not accept this message. It is on no queue.
    #[error("message for exchange `{exchange}` not accepted: {reason}")]
    NotAccepted {
        /// The exchange.
        exchange: String,
        /// The broker's reply.
        reason: String,
    },
    /// The broker denies this user access, to itself or to an object.
    #[error("{url} refused access: {reason}")]
    Denied {
        /// The broker, without password.
        url: String,
        /// The broker's reply.
        reason: String,
    },
    /// Broker and program do not trust each other's certificates, so there is no TLS connection.
    #[error("no TLS connection to {url}: {fault}")]
    Untrusted {
        /// The broker, without password.
        url: String,
        /// The fault.
        fault: TlsFault,
    },
    /// An object on the broker differs from the configuration.
    #[error("cannot declare {object}: {argument} is {found} on the broker, {expected} in the configuration")]
    Mismatch {
        /// The object, such as ``queue `mail` ``.
        object: String,
        /// The argument that differs.
        argument: String,
        /// Its value on the broker.
        found: String,
        /// Its value in the configuration.
        expected: String,
    },
    /// Objects are missing, and this program does not declare them.
    #[error("missing on the broker: {}", objects.join(", "))]
    Absent {
        /// The objects, such as ``queue `mail` ``.
        objects: Vec<String>,
    },
    /// A queue is not bound to an exchange, and this program may not bind it.
    #[error(
        "queue `{queue}` is not bound to exchange `{exchange}` with routing key `{key}`: delayed tasks would be lost"
    )]
    NotBound {
        /// The queue.
        queue: String,
        /// The exchange.
        exchange: String,
        /// The binding key.
        key: String,
    },
    /// A browser lost its queue. Every message that was not removed returns to the queue.
    #[error("reading queue `{queue}` was interrupted: {reason}")]
    LookLost {
        /// The queue.
        queue: String,
        /// The reason.
        reason: String,
    },
    /// The broker's version, or a queue of this kind on it, does not support a setting.
    #[error("cannot declare queue `{queue}`: the broker does not support {option}: {reason}")]
    Unsupported {
        /// The queue.
        queue: String,
        /// The argument, with its configured value.
        option: String,
        /// The broker's reply.
        reason: String,
    },
    /// This program closed the broker.
    #[error("the connection to the broker was closed by this program")]
    Closed,
    /// A setting is invalid.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The reason.
        reason: String,
    },
    /// Any other error of the AMQP client.
    #[error("{doing} failed: {}", ErrorChain(&**source))]
    Amqp {
        /// The operation that failed.
        doing: String,
        /// The error of the client.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The cause of a failed publish, which decides what can be published next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishFault {
    /// This message can never be published. Others can.
    Message,
    /// The destination is missing or denied to this user. Messages to other destinations can be
    /// published.
    Address,
    /// The queue is full, or has no leader. Messages to other queues can be published.
    Full,
    /// The broker cannot be reached, or does not answer. The same publish may succeed later.
    Passing,
    /// This program cannot publish until its configuration or its rights change.
    Program,
}

impl PublishFault {
    /// Returns the cause in one word, as an attribute of metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Address => "address",
            Self::Full => "full",
            Self::Passing => "unavailable",
            Self::Program => "program",
        }
    }
}

impl Error {
    /// Returns `true` if the same call may succeed later without a change.
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

    /// Returns `true` if a message that failed with this error may still be on a queue.
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            // A message for several queues may be on those that did not refuse it.
            Self::Refused { .. }
            | Self::Blocked { .. }
            | Self::Unconfirmed { .. }
            | Self::Closed
            | Self::Amqp { .. } => true,
            Self::Unroutable { .. }
            | Self::NoSuchExchange { .. }
            | Self::NoSuchQueue { .. }
            | Self::Route(_)
            | Self::TooLarge { .. }
            | Self::HeadersTooLarge { .. }
            | Self::Unreachable { .. }
            | Self::Denied { .. }
            | Self::Untrusted { .. }
            | Self::Mismatch { .. }
            | Self::Absent { .. }
            | Self::NotBound { .. }
            | Self::QueueLocked { .. }
            | Self::LookLost { .. }
            | Self::Unsupported { .. }
            | Self::Invalid { .. }
            | Self::AccessRefused { .. }
            | Self::NotAccepted { .. } => false,
        }
    }

    /// Returns the cause of a publish that failed with this error.
    pub fn publish_fault(&self) -> PublishFault {
        match self {
            Self::TooLarge { .. }
            | Self::HeadersTooLarge { .. }
            | Self::Invalid { .. }
            | Self::NotAccepted { .. }
            | Self::Route(_) => PublishFault::Message,
            Self::Unroutable { .. }
            | Self::NoSuchExchange { .. }
            | Self::NoSuchQueue { .. }
            | Self::AccessRefused { .. } => PublishFault::Address,
            Self::Refused { .. } => PublishFault::Full,
            Self::Blocked { .. }
            | Self::Unreachable { .. }
            | Self::Unconfirmed { .. }
            | Self::LookLost { .. }
            | Self::Amqp { .. } => PublishFault::Passing,
            Self::Denied { .. }
            | Self::Untrusted { .. }
            | Self::Mismatch { .. }
            | Self::Absent { .. }
            | Self::NotBound { .. }
            | Self::QueueLocked { .. }
            | Self::Unsupported { .. }
            | Self::Closed => PublishFault::Program,
        }
    }

    /// Returns `true` if the broker could not be reached or was lost.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unconfirmed { .. } | Self::LookLost { .. })
    }

    /// Returns a remedy for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unroutable { .. } => {
                Some("declare the queue in config/routes.yaml and bind it, or correct the route")
            }
            Self::NoSuchExchange { .. } => Some("declare the exchange under `exchanges` in config/routes.yaml"),
            Self::NoSuchQueue { .. } => Some(
                "declare the queue under `queues` in config/routes.yaml; one that is `external` there is declared by its owner",
            ),
            Self::Route(error) => error.help(),
            Self::Refused { .. } => Some("check the length limit of the queue and its consumers: it is probably full"),
            Self::TooLarge { .. } => {
                Some("store the payload elsewhere and send a reference, or raise broker.max_message_size")
            }
            Self::HeadersTooLarge { .. } => {
                Some("pass large values as arguments of the task, or store them elsewhere and send a reference")
            }
            Self::Blocked { .. } => Some("check the alarms of the broker: it is short of memory or disk space"),
            Self::Unreachable { .. } => Some("check that the broker runs, and that broker.url is right"),
            Self::Unconfirmed { .. } => Some("submit again with the same task id: a worker records one outcome per id"),
            Self::Denied { .. } => Some("check user, password, virtual host and permissions of broker.url"),
            Self::Untrusted { fault, .. } => Some(fault.help()),
            Self::Mismatch { .. } => Some(
                "change the configuration to match the broker, or run `celeriac topology plan`: it names the command that changes \
                 the broker, such as `celeriac topology migrate`, which moves waiting tasks",
            ),
            Self::Absent { .. } => {
                Some("run `celeriac topology apply` as a user who may configure, or set broker.declare")
            }
            Self::QueueLocked { .. } => Some("give each worker a name of its own"),
            Self::NotBound { .. } => Some("start a worker once as a user who may bind the queue"),
            Self::LookLost { .. } => Some("run it again: messages that were not removed are back on the queue"),
            Self::Unsupported { .. } => Some("remove that option, or use a queue of another type or a newer broker"),
            Self::AccessRefused { .. } => {
                Some("grant the user write permission on the exchange; nobody can publish to an internal one")
            }
            Self::NotAccepted { .. } => Some("correct the headers and properties that the broker names"),
            Self::Closed | Self::Invalid { .. } | Self::Amqp { .. } => None,
        }
    }
}

/// Returns the reason of an unroutable message. The default exchange routes to each queue by its
/// name, so there the queue of that name is missing.
fn nobody(exchange: &str, routing_key: &str) -> String {
    if exchange.is_empty() {
        return format!("queue `{routing_key}` does not exist");
    }
    format!("no queue is bound to exchange `{exchange}` with routing key `{routing_key}`")
}

fn cause(source: Option<&(dyn std::error::Error + Send + Sync + 'static)>) -> String {
    source.map(|error| format!(": {}", ErrorChain(error))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_its_message_may_be_on_a_queue() {
        let text = || "x".to_owned();
        let other = || Box::<dyn std::error::Error + Send + Sync>::from("x");
        let waited = Duration::ZERO;
        for error in [
            Error::Refused { exchange: text(), routing_key: text() },
            Error::Blocked { reason: text(), waited },
            Error::Unconfirmed { waited },
            Error::Closed,
            Error::Amqp { doing: text(), source: other() },
        ] {
            assert!(error.may_have_been_sent(), "{error}");
        }
        for error in [
            Error::Unroutable { exchange: text(), routing_key: text() },
            Error::NoSuchExchange { exchange: text() },
            Error::NoSuchQueue { queue: text() },
            Error::TooLarge { size: 2, limit: 1 },
            Error::HeadersTooLarge { size: 2, limit: 1, name: text(), largest: 2 },
            Error::Unreachable { url: text(), waited, source: None },
            Error::Denied { url: text(), reason: text() },
            Error::Mismatch { object: text(), argument: text(), found: text(), expected: text() },
            Error::Absent { objects: vec![text()] },
            Error::NotBound { queue: text(), exchange: text(), key: text() },
            Error::LookLost { queue: text(), reason: text() },
            Error::Unsupported { queue: text(), option: text(), reason: text() },
            Error::Invalid { key: text(), reason: text() },
        ] {
            assert!(!error.may_have_been_sent(), "{error}");
        }
    }
}
