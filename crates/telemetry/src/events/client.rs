//! Events of the sender.

use crate::metrics::{MESSAGES_SENT, REPLIES_UNREADABLE, SENDS_FAILED};

const TARGET: &str = "celeriac::client";

event! {
    /// A task is on a queue.
    pub struct TaskSent<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// The exchange that it was published to.
        exchange: &'a str,
        /// The routing key that it was published with.
        routing_key: &'a str,
    }
    log: DEBUG "task sent" { task, id, exchange, routing_key };
    count: MESSAGES_SENT {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "publish", "celeriac.task.name" = task
    };
}

event! {
    /// A task is in the outbox, and will be sent after its transaction commits.
    pub struct TaskWritten<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: DEBUG "task written to outbox" { task, id };
}

event! {
    /// A task could not be published. The caller has the error.
    pub struct SendFailed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "task not sent" { task, id, error };
    count: SENDS_FAILED;
}

event! {
    /// A reply could not be read, and is discarded. Its caller keeps waiting.
    pub struct ReplyUnreadable<'a> {
        /// Task id, if it could be read.
        id: Option<&'a str>,
        /// The reason.
        error: &'a str,
    }
    log: WARN "reply unreadable" { id, error };
    count: REPLIES_UNREADABLE;
}

event! {
    /// A reply arrived after the last caller stopped waiting for it.
    pub struct ReplyUnawaited<'a> {
        /// Task id.
        id: &'a str,
        /// State of the task.
        state: &'a str,
    }
    log: DEBUG "reply not awaited" { id, state };
}

event! {
    /// The result of a submission under an idempotency key could not be stored with the key.
    pub struct IdempotencyKeyNotUpdated<'a> {
        /// Task name.
        task: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "idempotency key not updated" { task, error };
}

event! {
    /// A reply of a worker's remote control could not be read, and is discarded.
    pub struct ControlReplyUnreadable<'a> {
        /// The reason.
        error: &'a str,
    }
    log: WARN "remote reply unreadable" { error };
}
