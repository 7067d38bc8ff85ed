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
    log: DEBUG { exchange, routing_key } "{task}[{id}] sent";
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
    log: DEBUG "{task}[{id}] written to the outbox";
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
    log: WARN "{task}[{id}] could not be sent: {error}";
    count: SENDS_FAILED;
}

event! {
    /// A reply could not be read, and is discarded. Its caller continues to wait.
    pub struct ReplyUnreadable<'a> {
        /// Task id, if it could be read.
        id: Option<&'a str>,
        /// The reason.
        error: &'a str,
    }
    log: WARN "a reply of task {} cannot be read, and is dropped: {error}", id.unwrap_or("unknown");
    count: REPLIES_UNREADABLE;
}

event! {
    /// A reply arrived that no caller awaits any more.
    pub struct ReplyUnawaited<'a> {
        /// Task id.
        id: &'a str,
        /// State of the task.
        status: &'a str,
    }
    log: DEBUG "nobody waits for the reply of task {id}: {status}";
}
