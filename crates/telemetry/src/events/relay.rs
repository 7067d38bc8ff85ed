//! Events between the outbox and the broker.

use std::time::Duration;

use crate::metrics::{MESSAGES_RELAYED, RELAY_LAG, RELAYS_FAILED};

const TARGET: &str = "celeriac::relay";

event! {
    /// This process relays the outbox from now on.
    pub struct RelayStarted;
    log: INFO "relaying the outbox";
}

event! {
    /// Messages of the outbox are on their queues.
    pub struct MessagesRelayed {
        /// Number of them.
        messages: usize,
        /// Time that the oldest of them was in the outbox.
        lag: Duration,
    }
    log: DEBUG { messages } "relayed {:.3}s after the oldest was written", lag.as_secs_f64();
    count: MESSAGES_RELAYED(messages);
    time: RELAY_LAG(lag);
}

event! {
    /// A message of the outbox could not be sent. It stays there, and another attempt follows.
    pub struct RelayFailed<'a> {
        /// Task name.
        task: &'a str,
        /// Task id.
        id: &'a str,
        /// Error.
        error: &'a str,
        /// Time until the next attempt.
        wait: Duration,
    }
    log: WARN "{task}[{id}] stays in the outbox, next try in {:.0}s: {error}", wait.as_secs_f64();
    count: RELAYS_FAILED { "celeriac.task.name" = task };
}
