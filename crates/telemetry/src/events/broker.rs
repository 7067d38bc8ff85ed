//! Events between a program and its broker.

use std::time::Duration;

use crate::metrics::{
    CONNECTIONS_LOST, CONNECTIONS_RESTORED, CONSUMERS_LOST, CONSUMERS_RESTORED, MESSAGES_REPLAYED, MESSAGES_RETURNED,
    OPERATION_DURATION, PUBLISHERS_BLOCKED,
};

const TARGET: &str = "celeriac::broker";

event! {
    /// A connection was lost. An attempt to restore it follows.
    pub struct ConnectionLost<'a> {
        /// Purpose of the connection: `publish` or `consume`.
        purpose: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "connection lost" { purpose, error };
    count: CONNECTIONS_LOST { "celeriac.connection.purpose" = purpose };
}

event! {
    /// A connection cannot be made. Another attempt follows.
    pub struct ConnectionFailed<'a> {
        /// Purpose of the connection: `publish` or `consume`.
        purpose: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "connection failed" { purpose, error };
}

event! {
    /// A connection cannot be made for a longer time. Logged each minute.
    pub struct ConnectionStillLost<'a> {
        /// Purpose of the connection: `publish` or `consume`.
        purpose: &'a str,
        /// Time without it.
        after: Duration,
        /// Error.
        error: &'a str,
    }
    log: WARN "connection still lost" { purpose, after_seconds = after.as_secs_f64(), error };
}

event! {
    /// A connection cannot be made, for the reason that was logged last.
    pub struct ConnectionStillFailing<'a> {
        /// Purpose of the connection: `publish` or `consume`.
        purpose: &'a str,
        /// Error.
        error: &'a str,
    }
    log: DEBUG "connection still failing" { purpose, error };
}

event! {
    /// Work waits for the broker, of which [`ConnectionLost`], [`ConnectionFailed`] or
    /// [`PublisherBlocked`] tells.
    pub struct BrokerAwaited<'a> {
        /// The work.
        work: &'a str,
        /// Time until the next attempt.
        retry_in: Duration,
        /// Error.
        error: &'a str,
    }
    log: DEBUG "broker awaited" { work, retry_in_seconds = retry_in.as_secs_f64(), error };
}

event! {
    /// A lost connection is restored.
    pub struct ConnectionRestored<'a> {
        /// Purpose of the connection: `publish` or `consume`.
        purpose: &'a str,
        /// Time since the connection was lost.
        after: Duration,
    }
    log: INFO "connection restored" { purpose, after_seconds = after.as_secs_f64() };
    count: CONNECTIONS_RESTORED { "celeriac.connection.purpose" = purpose };
}

event! {
    /// The broker blocks publishing (`connection.blocked`).
    pub struct PublisherBlocked<'a> {
        /// The broker's reason.
        reason: &'a str,
    }
    log: WARN "publishing blocked" { reason };
    count: PUBLISHERS_BLOCKED;
}

event! {
    /// The broker accepts messages again (`connection.unblocked`).
    pub struct PublisherUnblocked;
    log: INFO "publishing unblocked";
}

event! {
    /// A dead letter was replayed to a queue.
    pub struct MessageReplayed<'a> {
        /// The dead-letter queue.
        from: &'a str,
        /// The queue that the message was replayed to.
        to: &'a str,
        /// Task name, if it could be read.
        task: Option<&'a str>,
        /// Task id, if it could be read.
        id: Option<&'a str>,
    }
    log: DEBUG "dead letter replayed" { task, id, dead_letter_queue = from, queue = to };
    span: "replayed" { "celeriac.replayed.from" = from, "celeriac.replayed.to" = to };
    count: MESSAGES_REPLAYED { "celeriac.queue" = to };
}

event! {
    /// A message is on a queue, confirmed.
    pub struct MessagePublished<'a> {
        /// The exchange that it was published to.
        exchange: &'a str,
        /// The routing key that it was published with.
        routing_key: &'a str,
        /// Time until the confirm.
        took: Duration,
    }
    log: TRACE "message published" { exchange, routing_key, took_seconds = took.as_secs_f64() };
    time: OPERATION_DURATION(took) { "messaging.system" = "rabbitmq", "messaging.operation.name" = "publish" };
}

event! {
    /// A message could not be published. Its sender has the error.
    pub struct MessageNotPublished<'a> {
        /// The exchange that it was published to.
        exchange: &'a str,
        /// The routing key that it was published with.
        routing_key: &'a str,
        /// Cause of the failure, in one word.
        kind: &'a str,
        /// Time until the error.
        took: Duration,
    }
    log: TRACE "message not published" { exchange, routing_key, reason = kind, took_seconds = took.as_secs_f64() };
    time: OPERATION_DURATION(took) {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "publish", "error.type" = kind
    };
}

event! {
    /// The broker returned a message because no queue takes it. The sender has the error.
    pub struct MessageReturned<'a> {
        /// The exchange that it was published to.
        exchange: &'a str,
        /// The routing key that it was published with.
        routing_key: &'a str,
    }
    log: WARN "message returned" { exchange, routing_key };
    count: MESSAGES_RETURNED;
}

event! {
    /// The subscription to a queue was lost. An attempt to restore it follows.
    pub struct ConsumerLost<'a> {
        /// The queue.
        queue: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "consumer lost" { queue, error };
    count: CONSUMERS_LOST { "celeriac.queue" = queue };
}

event! {
    /// The subscription to a queue is restored.
    pub struct ConsumerRestored<'a> {
        /// The queue.
        queue: &'a str,
        /// Time since the subscription was lost.
        after: Duration,
    }
    log: INFO "consumer restored" { queue, after_seconds = after.as_secs_f64() };
    count: CONSUMERS_RESTORED { "celeriac.queue" = queue };
}

event! {
    /// This program lacks the right to bind a queue to an exchange. Both exist, and the binding is
    /// assumed to exist.
    pub struct BindingAssumed<'a> {
        /// The queue.
        queue: &'a str,
        /// The exchange.
        exchange: &'a str,
        /// The binding key.
        routing_key: &'a str,
    }
    log: DEBUG "binding assumed" { queue, exchange, routing_key };
}

event! {
    /// Queues lack their policies, which set their limits, their expiry and their dead-letter
    /// queues.
    pub struct PoliciesDiffer<'a> {
        /// Policies that are missing or differ from the configuration.
        policies: &'a str,
    }
    log: ERROR "policies differ" { policies };
}

event! {
    /// An option has no effect with this version of the broker.
    pub struct OptionIgnored<'a> {
        /// The option's key in the configuration.
        key: &'a str,
        /// The broker's behaviour.
        reason: &'a str,
    }
    log: WARN "option has no effect" { option = key, reason };
}

event! {
    /// A queue exists with arguments that differ from the defaults. None of them is configured, so
    /// the queue is used as it is.
    pub struct QueueAdopted<'a> {
        /// The queue.
        queue: &'a str,
        /// The differing arguments.
        differences: &'a str,
    }
    log: WARN "queue arguments differ" { queue, differences };
}

event! {
    /// A delivery was dropped before it was settled, which is a defect of the program. The message
    /// returns to its queue.
    pub struct DeliveryDropped<'a> {
        /// The queue.
        queue: &'a str,
        /// Delivery tag.
        tag: u64,
    }
    log: ERROR "delivery dropped unsettled" { queue, tag };
}
