//! Remedies of differences.

use std::fmt;

use crate::existing::{BindingFacts, PolicyFacts, QueueFacts};
use crate::objects::{QueueObject, TopologyObject};

/// The remedy of a difference.
#[derive(Debug, Clone, PartialEq)]
pub enum Remedy {
    /// It is made.
    Make(TopologyObject),
    /// A policy is set.
    SetPolicy(PolicyFacts),
    /// It is deleted, where that is asked for.
    Delete(Leftover),
    /// The queue cannot be changed: another takes its place.
    Migrate(String),
    /// A person has to act.
    ByHand(&'static str),
}

/// Something on the broker that the files do not name any more.
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
    /// The remedy of a queue that cannot be changed. Dead-letter queues and delay levels are nobody's to choose
    /// another name for.
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
