//! The broker, and the selected dead-letter queues.

use std::sync::Arc;

use celeriac_admin::dead::{DeadLetterQuery, REASONS, Search};
use celeriac_admin::{Error as AdminError, Filter};
use celeriac_broker::{Broker, Error as BrokerError};
use celeriac_config::{did_you_mean, nearest};
use celeriac_topology::Topology;
use jiff::Timestamp;

use crate::args::DeadQueues;
use crate::error::Error;
use crate::program::Program;
use crate::verbs::not_declared;

/// The dead-letter queues that a verb works on.
pub(super) struct DeadLetterSource {
    pub(super) broker: Arc<dyn Broker>,
    topology: Topology,
    /// Dead-letter queues, each once.
    pub(super) queues: Vec<String>,
    /// Queues of `--queue`. Their dead-letter queues have to exist.
    named: Vec<String>,
}

impl DeadLetterSource {
    /// Selects the dead-letter queues of these queues, or of all declared queues.
    pub(super) fn new(program: &Program, wanted: &DeadQueues) -> Result<Self, Error> {
        let topology = program.routes.topology();
        let named = wanted.queues.iter().map(|name| declared(&topology, "--queue", name));
        let named: Vec<String> = named.collect::<Result<Vec<_>, _>>()?.concat();
        let mut queues: Vec<String> = Vec::new();
        let meant: Vec<_> = if named.is_empty() { topology.queues.keys().collect() } else { named.iter().collect() };
        for dead in meant.into_iter().filter_map(|queue| topology.dead_letter_queue(queue)) {
            if !queues.contains(&dead) {
                queues.push(dead);
            }
        }
        Ok(Self { broker: program.open_broker()?, topology, queues, named })
    }

    /// Returns the filter of the flags. In a dead-letter queue that several queues share, it
    /// matches only letters of the selected queues. Ages count from `now`.
    pub(super) fn filter(&self, wanted: DeadLetterQuery, now: Timestamp) -> Result<Filter, Error> {
        let shares = |queue: &&String| {
            let own = self.topology.dead_letter_queue(queue);
            self.topology.queues.keys().filter(|other| self.topology.dead_letter_queue(other) == own).count() > 1
        };
        let mut queues = Vec::new();
        if self.named.iter().any(|queue| shares(&queue)) {
            for queue in &self.named {
                queues.push(queue.clone());
                if self.topology.queues.get(queue).is_some_and(|options| options.broadcast) {
                    // Each worker has its own queue of a broadcast.
                    queues.push(format!("{queue}.*"));
                }
            }
        }
        Filter::new(DeadLetterQuery { queues, ..wanted }, now).map_err(|error| match error {
            AdminError::Invalid { key, reason } => Error::Data { what: format!("--{key}"), reason },
            other => Error::Admin(other),
        })
    }

    /// Returns a declared queue.
    pub(super) fn declared(&self, flag: &str, name: &str) -> Result<String, Error> {
        match self.topology.queues.get_key_value(name) {
            Some((name, _)) => Ok(name.clone()),
            None => Err(undeclared(&self.topology, flag, name)),
        }
    }

    /// Starts the search of a dead-letter queue. Returns `None` if the queue does not exist and was
    /// not selected by name.
    pub(super) async fn search<'a>(&self, queue: &str, filter: &'a Filter) -> Result<Option<Search<'a>>, Error> {
        match Search::begin(&*self.broker, queue, filter).await {
            Ok(search) => Ok(Some(search)),
            Err(error) if self.may_lack(&error) => Ok(None),
            Err(error) => Err(Error::Broker(error)),
        }
    }

    /// Returns true if the error is a missing queue that was not selected by name.
    pub(super) fn may_lack(&self, error: &BrokerError) -> bool {
        self.named.is_empty() && matches!(error, BrokerError::NoSuchQueue { .. })
    }
}

/// Refuses a reason that neither Celeriac nor RabbitMQ knows if no dead letter has it. Another
/// program, or a later version, may write others.
pub(super) fn check_reason(reason: Option<&str>, matching: u64) -> Result<(), Error> {
    match reason {
        Some(reason) if matching == 0 && !REASONS.contains(&reason) => {
            let near = did_you_mean(nearest(reason, REASONS.iter().copied()));
            let reason = format!("no dead letter has the reason `{reason}`{near}; known are {}", REASONS.join(", "));
            Err(Error::Data { what: "--reason".to_owned(), reason })
        }
        _ => Ok(()),
    }
}

/// Returns the declared queue of this name, or the queues with the dead-letter queue of this name.
fn declared(topology: &Topology, flag: &str, name: &str) -> Result<Vec<String>, Error> {
    if topology.queues.contains_key(name) {
        return Ok(vec![name.to_owned()]);
    }
    let takes = |queue: &&String| topology.dead_letter_queue(queue).as_deref() == Some(name);
    let queues: Vec<String> = topology.queues.keys().filter(takes).cloned().collect();
    if queues.is_empty() { Err(undeclared(topology, flag, name)) } else { Ok(queues) }
}

fn undeclared(topology: &Topology, flag: &str, name: &str) -> Error {
    Error::Data { what: flag.to_owned(), reason: not_declared(topology, name) }
}
