//! Names of the headers of Celery's task protocol 2, and of our own.

/// Registered name of the task. Its presence makes a message a task of protocol 2.
pub const TASK: &str = "task";
/// Task id.
pub const ID: &str = "id";
/// Earliest time to run.
pub const ETA: &str = "eta";
/// Time after which the task must not start.
pub const EXPIRES: &str = "expires";
/// The number of earlier attempts.
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
/// A name to show in place of the task's.
pub const SHADOW: &str = "shadow";
/// Hard and soft time limit, in this order, in seconds.
pub const TIMELIMIT: &str = "timelimit";
/// Positional arguments as Python would print them.
pub const ARGSREPR: &str = "argsrepr";
/// Named arguments as Python would print them.
pub const KWARGSREPR: &str = "kwargsrepr";
/// Process that sent the task.
pub const ORIGIN: &str = "origin";
/// The number of times the task was replaced by another.
pub const REPLACED_TASK_NESTING: &str = "replaced_task_nesting";
/// Names of the task's stamps.
pub const STAMPED_HEADERS: &str = "stamped_headers";
/// The task's stamps.
pub const STAMPS: &str = "stamps";
/// The compression of the body.
pub const COMPRESSION: &str = "compression";
/// True if the result is of no interest.
pub const IGNORE_RESULT: &str = "ignore_result";
/// The beginning of the names of all headers that a worker writes about a dead letter.
pub const DEAD_PREFIX: &str = "celeriac-dead-";
/// Why a message stands in a dead-letter queue.
pub const DEAD_REASON: &str = "celeriac-dead-reason";
/// The reason, in words.
pub const DEAD_ERROR: &str = "celeriac-dead-error";
/// The queue the message was taken from.
pub const DEAD_QUEUE: &str = "celeriac-dead-queue";
/// The exchange it was published to.
pub const DEAD_EXCHANGE: &str = "celeriac-dead-exchange";
/// The routing key it was published with.
pub const DEAD_ROUTING_KEY: &str = "celeriac-dead-routing-key";
/// When it was dead-lettered.
pub const DEAD_AT: &str = "celeriac-dead-at";
/// The worker that dead-lettered it.
pub const DEAD_WORKER: &str = "celeriac-dead-worker";
/// Says that a message may stand on its queue twice: it was sent again after a crash or a lost confirm, relayed, or put back until
/// it is due. Whoever runs it looks into the store first, as for a message that was delivered before.
pub const REPEATED: &str = "celeriac-repeated";
/// Says of a message that it was delivered before, may have brought down its worker, and waits for its turn to run alone.
pub const SUSPECTED: &str = "celeriac-suspected";
/// The number of replays of a message from a dead-letter queue, if any. What an earlier run of the task has come to
/// does not keep this one from running, unless it was a success.
pub const REPLAYED: &str = "celeriac-replayed";
/// The [reason](DEAD_REASON) of a message whose task has run, and whose followers could not be sent.
pub const NOT_FOLLOWED_UP: &str = "not-followed-up";
/// When the last attempt has to begin at the latest, where the task bounds all of them together.
pub const RETRY_UNTIL: &str = "celeriac-retry-until";
/// The number of times a message went round because of its task's rate limit. Whoever gets it looks into the store
/// first: a worker that died may have left two of it.
pub const ROUNDS: &str = "celeriac-rate-limited";
/// The id that a task was sent with to every worker, in the message of one of them, which has an id of its own.
pub const BROADCAST: &str = "celeriac-broadcast";

/// True for a header that is the framework's own, or the broker's, so that no caller may set it.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with("celeriac-") || name.starts_with("x-death")
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
