//! Messages of Celery's remote control, and the names of its exchanges and queues.
//!
//! - [`ControlRequest`]: a command to workers;
//! - [`ControlReply`]: the answer of one worker;
//! - `body`: what both have in common, and its limits.

mod body;
mod reply;
mod request;

use std::time::Duration;

pub use body::{ControlError, LIMITS};
pub use reply::{ControlReply, error, exception, ok};
pub use request::{ControlRequest, Matcher, Recipients, ReplyAddress};

/// The fanout exchange of requests.
pub const EXCHANGE: &str = "celery.pidbox";

/// The direct exchange of replies.
pub const REPLY_EXCHANGE: &str = "reply.celery.pidbox";

/// Time after which a queue without a consumer is deleted (`control_queue_expires`).
pub const QUEUE_EXPIRES: Duration = Duration::from_secs(10);

/// Time that a message may wait (`control_queue_ttl`).
pub const MESSAGE_TTL: Duration = Duration::from_secs(300);

/// Returns the name of the queue on which a worker receives requests.
pub fn node_queue(node: &str) -> String {
    format!("{node}.{EXCHANGE}")
}

/// Returns the name of the queue on which a sender receives replies. `id` is the key of its
/// binding.
pub fn reply_queue(id: &str) -> String {
    format!("{id}.{REPLY_EXCHANGE}")
}

#[cfg(test)]
mod tests;
