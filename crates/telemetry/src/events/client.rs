//! Events of the sender.

use crate::metrics::{MESSAGES_SENT, REPLIES_UNREADABLE, SENDS_FAILED};

const TARGET: &str = "celeriac::client";

event! {
    /// A task stands on a queue.
    pub struct TaskSent<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Exchange it was published to.
        exchange: &'a str,
        /// The routing key it was published with.
        routing_key: &'a str,
    }
    log: DEBUG { exchange, routing_key } "{task}[{id}] sent";
    count: MESSAGES_SENT {
        "messaging.system" = "rabbitmq", "messaging.operation.name" = "publish", "celeriac.task.name" = task
    };
}

event! {
    /// A task stands in the outbox, for when the transaction commits that it was sent in.
    pub struct TaskWritten<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
    }
    log: DEBUG "{task}[{id}] written to the outbox";
}

event! {
    /// A task could not be put on a queue. The caller has the error.
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
    /// A reply could not be understood, and is gone. Whoever waits for it waits on.
    pub struct ReplyUnreadable<'a> {
        /// The task it belongs to, where it says so.
        id: Option<&'a str>,
        /// Problem.
        error: &'a str,
    }
    log: WARN "a reply of task {} cannot be read, and is dropped: {error}", id.unwrap_or("unknown");
    count: REPLIES_UNREADABLE;
}

event! {
    /// A reply came that nobody waits for any more.
    pub struct ReplyUnawaited<'a> {
        /// Task id.
        id: &'a str,
        /// State of the task.
        status: &'a str,
    }
    log: DEBUG "nobody waits for the reply of task {id}: {status}";
}
