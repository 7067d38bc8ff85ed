//! Remedies of differences.

use std::fmt;

use crate::existing::{BindingFacts, PolicyFacts, QueueFacts};
use crate::objects::{QueueObject, TopologyObject};

/// The remedy of a difference.
#[derive(Debug, Clone, PartialEq)]
pub enum Remedy {
    /// Makes the object.
    Make(TopologyObject),
    /// Sets a policy.
    SetPolicy(PolicyFacts),
    /// Deletes the object, on request.
    Delete(Leftover),
    /// Moves to another queue, because this one cannot change.
    Migrate(String),
    /// Needs a person.
    ByHand(&'static str),
}

/// An object on the broker that the files no longer name.
#[derive(Debug, Clone, PartialEq)]
pub enum Leftover {
    /// A binding.
    Binding(BindingFacts),
    /// A policy, by its name.
    Policy(String),
    /// A queue.
    Queue(Box<QueueFacts>),
}

impl Remedy {
    /// Returns the remedy for a queue that cannot change. Dead-letter queues and delay levels have
    /// fixed names, so there is no other queue to migrate to.
    pub fn of_queue(queue: &QueueObject) -> Self {
        if queue.configured.is_empty() {
            return Self::ByHand("no queue can be changed: delete it when it is empty, and apply again");
        }
        Self::Migrate(queue.name.clone())
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(_) | Self::SetPolicy(_) => formatter.write_str("celeriac topology apply"),
            Self::Delete(_) => formatter.write_str("celeriac topology apply --prune"),
            Self::Migrate(queue) => write!(formatter, "celeriac topology migrate {queue} --to NEW"),
            Self::ByHand(what) => formatter.write_str(what),
        }
    }
}
