//! What happens between a program and its broker.

use std::time::Duration;

use tracing::{Level, debug, error, info, warn};

use super::{Attribute, Occurrence};
use crate::metrics::{Counter, count};

const TARGET: &str = "celeriac::broker";

/// A connection was lost. An attempt to make it again follows.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLost<'a> {
    /// What it was for: `publish` or `consume`.
    pub purpose: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

impl Occurrence for ConnectionLost<'_> {
    fn tell(&self) {
        count(Counter::ConnectionsLost);
        warn!(target: TARGET, "connection to {} lost, trying again: {}", self.purpose, self.error);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// A connection cannot be made. Another attempt follows.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionFailed<'a> {
    /// What it is for: `publish` or `consume`.
    pub purpose: &'a str,
    /// What goes wrong.
    pub error: &'a str,
    /// Whether this was told already, a moment ago.
    pub known: bool,
}

impl Occurrence for ConnectionFailed<'_> {
    fn tell(&self) {
        match self.known {
            true => debug!(target: TARGET, "still no connection to {}, trying again: {}", self.purpose, self.error),
            false => warn!(target: TARGET, "no connection to {}, trying again: {}", self.purpose, self.error),
        }
    }

    fn level(&self) -> Level {
        if self.known { Level::DEBUG } else { Level::WARN }
    }
}

/// A lost connection stands again.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRestored<'a> {
    /// What it is for: `publish` or `consume`.
    pub purpose: &'a str,
    /// How long it was gone.
    pub after: Duration,
}

impl Occurrence for ConnectionRestored<'_> {
    fn tell(&self) {
        count(Counter::ConnectionsRestored);
        info!(target: TARGET, "connection to {} restored after {:.3}s", self.purpose, self.after.as_secs_f64());
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// The broker takes no messages for now (`connection.blocked`).
#[derive(Debug, Clone, Copy)]
pub struct PublisherBlocked<'a> {
    /// The broker's reason.
    pub reason: &'a str,
}

impl Occurrence for PublisherBlocked<'_> {
    fn tell(&self) {
        count(Counter::PublishersBlocked);
        warn!(target: TARGET, "the broker takes no messages: {}", self.reason);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// The broker takes messages again.
#[derive(Debug, Clone, Copy)]
pub struct PublisherUnblocked;

impl Occurrence for PublisherUnblocked {
    fn tell(&self) {
        info!(target: TARGET, "the broker takes messages again");
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// A dead letter was put back on a queue, at somebody's wish.
#[derive(Debug, Clone, Copy)]
pub struct MessageReplayed<'a> {
    /// The dead-letter queue it stood in.
    pub from: &'a str,
    /// The queue it stands on now.
    pub to: &'a str,
    /// Task name, where it could be read.
    pub task: Option<&'a str>,
    /// Task id, where it could be read.
    pub id: Option<&'a str>,
}

impl Occurrence for MessageReplayed<'_> {
    fn tell(&self) {
        count(Counter::MessagesReplayed);
        info!(
            target: TARGET,
            "{}[{}] replayed from {} to queue {}",
            self.task.unwrap_or("unknown task"),
            self.id.unwrap_or("no id"),
            self.from,
            self.to,
        );
    }

    fn level(&self) -> Level {
        Level::INFO
    }

    fn mark(&self, mark: &mut dyn FnMut(&'static str, &[Attribute<'_>])) {
        mark("replayed", &[("celeriac.replayed.from", self.from.into()), ("celeriac.replayed.to", self.to.into())]);
    }
}

/// A message came back because no queue takes it. The sender has the error.
#[derive(Debug, Clone, Copy)]
pub struct MessageReturned<'a> {
    /// Where it was published to.
    pub exchange: &'a str,
    /// The routing key it was published with.
    pub routing_key: &'a str,
}

impl Occurrence for MessageReturned<'_> {
    fn tell(&self) {
        count(Counter::MessagesReturned);
        warn!(
            target: TARGET,
            "unroutable: no queue takes messages of exchange `{}` with routing key `{}`", self.exchange, self.routing_key,
        );
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// A queue's subscription was lost. Another attempt follows.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerLost<'a> {
    /// The queue.
    pub queue: &'a str,
    /// What went wrong.
    pub error: &'a str,
}

impl Occurrence for ConsumerLost<'_> {
    fn tell(&self) {
        count(Counter::ConsumersLost);
        warn!(target: TARGET, "consumer of queue {} lost, trying again: {}", self.queue, self.error);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// A queue's subscription stands again.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerRestored<'a> {
    /// The queue.
    pub queue: &'a str,
    /// How long it was gone.
    pub after: Duration,
}

impl Occurrence for ConsumerRestored<'_> {
    fn tell(&self) {
        count(Counter::ConsumersRestored);
        info!(target: TARGET, "consumer of queue {} restored after {:.3}s", self.queue, self.after.as_secs_f64());
    }

    fn level(&self) -> Level {
        Level::INFO
    }
}

/// This program may not bind a queue to an exchange. Both exist, and are taken to be bound.
#[derive(Debug, Clone, Copy)]
pub struct BindingAssumed<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The exchange.
    pub exchange: &'a str,
    /// The binding key.
    pub key: &'a str,
}

impl Occurrence for BindingAssumed<'_> {
    fn tell(&self) {
        debug!(
            target: TARGET,
            "not allowed to bind queue {} to exchange {} with key {}; both exist, and are taken to be bound",
            self.queue, self.exchange, self.key,
        );
    }

    fn level(&self) -> Level {
        Level::DEBUG
    }
}

/// A queue has not the policy that says how it is kept: no limits, no lifetimes, no dead-letter queue.
#[derive(Debug, Clone, Copy)]
pub struct PolicyAbsent<'a> {
    /// The policies, and what is wrong with them.
    pub policies: &'a str,
}

impl Occurrence for PolicyAbsent<'_> {
    fn tell(&self) {
        error!(
            target: TARGET,
            "broker.policies is set, and queues are not kept as it should be: {}; run `celeriac topology apply`",
            self.policies,
        );
    }

    fn level(&self) -> Level {
        Level::ERROR
    }
}

/// An option that this version of the broker takes and does not heed.
#[derive(Debug, Clone, Copy)]
pub struct OptionUnheeded<'a> {
    /// The option's key in the configuration.
    pub key: &'a str,
    /// What the broker does instead.
    pub reason: &'a str,
}

impl Occurrence for OptionUnheeded<'_> {
    fn tell(&self) {
        warn!(target: TARGET, "{} has no effect: {}", self.key, self.reason);
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}

/// A queue exists with other arguments than ours, none of them configured: it is used as it is.
#[derive(Debug, Clone, Copy)]
pub struct QueueAdopted<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The arguments that differ.
    pub differences: &'a str,
}

impl Occurrence for QueueAdopted<'_> {
    fn tell(&self) {
        warn!(
            target: TARGET,
            "queue {} exists with other arguments ({}) and is used as it is; where its dead-letter arguments differ, the \
             broker does not dead-letter to ours by itself",
            self.queue, self.differences,
        );
    }

    fn level(&self) -> Level {
        Level::WARN
    }
}
