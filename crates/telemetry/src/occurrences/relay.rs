//! What happens between the outbox and the broker.

use std::time::Duration;

use tracing::{Level, debug, info, warn};

use super::Occurrence;
use crate::metrics::{Counter, add, count, record_relay_lag};

const TARGET: &str = "celeriac::relay";

/// This process sends what stands in the outbox from now on.
#[derive(Debug, Clone, Copy)]
pub struct RelayLeads;

impl Occurrence for RelayLeads {
    fn tell(&self) {
        info!(target: TARGET, "relaying the outbox");
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// Messages of the outbox stand on their queues.
#[derive(Debug, Clone, Copy)]
pub struct Relayed {
    /// How many.
    pub messages: usize,
    /// How long the oldest of them stood in the outbox.
    pub lag: Duration,
}

impl Occurrence for Relayed {
    fn tell(&self) {
        add(Counter::MessagesRelayed, self.messages as u64);
        record_relay_lag(self.lag);
        debug!(target: TARGET, messages = self.messages, "relayed {:.3}s after the oldest was written", self.lag.as_secs_f64());
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }
}

/// A message of the outbox could not be sent. It stays there, and is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RelayFailed<'a> {
    /// Task name.
    pub task: &'a str,
    /// Task id.
    pub id: &'a str,
    /// Why not.
    pub error: &'a str,
    /// How long until it is tried again.
    pub wait: Duration,
}

impl Occurrence for RelayFailed<'_> {
    fn tell(&self) {
        count(Counter::RelaysFailed);
        warn!(
            target: TARGET,
            "{}[{}] stays in the outbox, next try in {:.0}s: {}", self.task, self.id, self.wait.as_secs_f64(), self.error
        );
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}
