//! Names of the headers of Celery's task protocol 2, and of Celeriac's own.

/// Registered name of the task. A message with it is a task of protocol 2.
pub const TASK: &str = "task";
/// Task id.
pub const ID: &str = "id";
/// Earliest time to run.
pub const ETA: &str = "eta";
/// Time after which the task must not start.
pub const EXPIRES: &str = "expires";
/// Number of earlier attempts.
pub const RETRIES: &str = "retries";
/// Id of the first task of the workflow.
pub const ROOT_ID: &str = "root_id";
/// Id of the task that sent this one.
pub const PARENT_ID: &str = "parent_id";
/// Id of the group the task belongs to.
pub const GROUP: &str = "group";
/// Position in the group, which orders the results of a chord.
pub const GROUP_INDEX: &str = "group_index";
/// Language of the sender.
pub const LANG: &str = "lang";
/// A display name in place of the task's.
pub const SHADOW: &str = "shadow";
/// Hard and soft time limit, in this order, in seconds.
pub const TIMELIMIT: &str = "timelimit";
/// Positional arguments as Python would print them.
pub const ARGSREPR: &str = "argsrepr";
/// Named arguments as Python would print them.
pub const KWARGSREPR: &str = "kwargsrepr";
/// Process that sent the task.
pub const ORIGIN: &str = "origin";
/// Number of times that the task was replaced by another one.
pub const REPLACED_TASK_NESTING: &str = "replaced_task_nesting";
/// Names of the task's stamps.
pub const STAMPED_HEADERS: &str = "stamped_headers";
/// The task's stamps.
pub const STAMPS: &str = "stamps";
/// The compression of the body.
pub const COMPRESSION: &str = "compression";
/// True if no result is to be stored.
pub const IGNORE_RESULT: &str = "ignore_result";
/// Prefix of all headers that a worker adds to a dead letter.
pub const DEAD_PREFIX: &str = "celeriac-dead-";
/// Reason for dead-lettering.
pub const DEAD_REASON: &str = "celeriac-dead-reason";
/// The error message.
pub const DEAD_ERROR: &str = "celeriac-dead-error";
/// The queue that delivered the message.
pub const DEAD_QUEUE: &str = "celeriac-dead-queue";
/// The exchange that the message was published to.
pub const DEAD_EXCHANGE: &str = "celeriac-dead-exchange";
/// The routing key that the message was published with.
pub const DEAD_ROUTING_KEY: &str = "celeriac-dead-routing-key";
/// Time of dead-lettering.
pub const DEAD_AT: &str = "celeriac-dead-at";
/// The worker that dead-lettered the message.
pub const DEAD_WORKER: &str = "celeriac-dead-worker";
/// Marks a message that may be on its queue twice.
///
/// It was published again after a crash or a lost confirm, was relayed, or was delayed again. The
/// worker that runs it first reads the result store, as for a redelivered message.
pub const REPEATED: &str = "celeriac-repeated";
/// Marks a redelivered message that may have crashed its worker, and waits until it can run alone.
pub const SUSPECTED: &str = "celeriac-suspected";
/// Marks a message that could not be delivered as it was sent, and says which parts were changed.
/// No worker runs it.
pub const UNREADABLE: &str = "celeriac-unreadable";
/// Number of replays from a dead-letter queue. The outcome of an earlier run does not prevent a
/// replayed one, unless it was a success.
pub const REPLAYED: &str = "celeriac-replayed";
/// The [reason](DEAD_REASON) of a message whose task has run, but whose follow-ups could not be
/// sent.
pub const NOT_FOLLOWED_UP: &str = "not-followed-up";
/// Latest start of the last attempt, if the task limits all attempts together.
pub const RETRY_UNTIL: &str = "celeriac-retry-until";
/// The span of the attempt before, in the form of `traceparent`. The span of the next attempt links
/// to it.
pub const RETRIED_FROM: &str = "celeriac-retried-from";
/// Number of times that a message returned to the broker because of a rate limit.
///
/// Its worker first reads the result store, because a crash may have left two copies.
pub const ROUNDS: &str = "celeriac-rate-limited";
/// Time at which a worker first returned the message because it does not know the task.
pub const UNKNOWN_SINCE: &str = "celeriac-unknown-since";
/// The id of a task that was sent to every worker. Each worker's copy has an id of its own.
pub const BROADCAST: &str = "celeriac-broadcast";
/// The chord whose members are counted in the result store, of a task that is a member. Its
/// position is its [`GROUP_INDEX`].
pub const JOIN: &str = "celeriac-join";

/// Routing keys to which RabbitMQ sends further copies.
pub const CC: &str = "CC";

/// Like [`CC`], but RabbitMQ removes it from the copies.
pub const BCC: &str = "BCC";

/// Returns `true` for a header of the framework or the broker, which no caller may set.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("celeriac-") || name.starts_with("x-death")
}

/// Returns `true` for a header that only its sender knows.
pub fn is_custom(name: &str) -> bool {
    let is_brokers =
        matches!(name, CC | BCC) || name.starts_with("x-first-death-") || name.starts_with("x-last-death-");
    let is_traces = matches!(name, "traceparent" | "tracestate");
    !(is_reserved(name) || is_brokers || is_traces)
}

/// Every header of protocol 2.
pub const RESERVED: [&str; 20] = [
    TASK,
    ID,
    ETA,
    EXPIRES,
    RETRIES,
    ROOT_ID,
    PARENT_ID,
    GROUP,
    GROUP_INDEX,
    LANG,
    SHADOW,
    TIMELIMIT,
    ARGSREPR,
    KWARGSREPR,
    ORIGIN,
    REPLACED_TASK_NESTING,
    STAMPED_HEADERS,
    STAMPS,
    COMPRESSION,
    IGNORE_RESULT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_nobody_else_is_the_senders() {
        let all = ["tenant", "id", "stamps", "celeriac-join", "x-death", "x-first-death-queue", "CC", "traceparent"];
        let custom: Vec<_> = all.into_iter().filter(|name| is_custom(name)).collect();
        assert_eq!(custom, ["tenant"]);
    }
}
