//! The broker, and the dead-letter queues that are meant.

use std::sync::Arc;

use celeriac_broker::dead::{Search, Wanted};
use celeriac_broker::topology::dead_letter_queue;
use celeriac_broker::{Broker, Error as BrokerError, Filter, Topology};
use celeriac_config::nearest;
use celeriac_telemetry::clock;

use crate::application::Program;
use crate::args::DeadQueues;
use crate::error::Error;

/// Where dead letters are looked for.
pub(super) struct Place {
    pub(super) broker: Arc<dyn Broker>,
    topology: Topology,
    /// The dead-letter queues.
    pub(super) queues: Vec<String>,
    /// Whether they were named one by one: then each has to be there.
    named: bool,
}

impl Place {
    /// The dead-letter queues of the queues that are named, or of all that are declared.
    pub(super) fn new<P: Program>(program: &P, wanted: &DeadQueues) -> Result<Self, Error> {
        let topology = program.routes().topology();
        let named = !wanted.queues.is_empty();
        let queues = if named {
            wanted.queues.iter().map(|name| declared(&topology, "--queue", name)).collect::<Result<_, _>>()?
        } else {
            topology.queues.keys().cloned().collect::<Vec<_>>()
        };
        let mut queues: Vec<_> = queues.iter().map(|queue| dead_letter_queue(queue)).collect();
        queues.dedup();
        Ok(Self { broker: program.broker()?, topology, queues, named })
    }

    /// A queue that is declared.
    pub(super) fn declared(&self, flag: &str, name: &str) -> Result<String, Error> {
        declared(&self.topology, flag, name)
    }

    /// Begins to search a dead-letter queue. `None` where nobody has declared it yet, and nobody asked for it by its name.
    pub(super) async fn search<'a>(&self, queue: &str, filter: &'a Filter) -> Result<Option<Search<'a>>, Error> {
        match Search::begin(&*self.broker, queue, filter).await {
            Ok(search) => Ok(Some(search)),
            Err(error) if self.may_lack(&error) => Ok(None),
            Err(error) => Err(Error::Broker(error)),
        }
    }

    /// Whether an error says no more than that a queue is not there which may well be missing.
    pub(super) fn may_lack(&self, error: &BrokerError) -> bool {
        !self.named && matches!(error, BrokerError::NoSuchQueue { .. })
    }

    /// Says goodbye to the broker.
    pub(super) async fn leave(&self, outcome: Result<(), Error>) -> Result<(), Error> {
        self.broker.close().await;
        outcome
    }
}

/// The filter that flags ask for.
pub(super) fn filter(wanted: Wanted) -> Result<Filter, Error> {
    Filter::new(wanted, clock::now()).map_err(|error| match error {
        BrokerError::Invalid { key, reason } => Error::Data { what: format!("--{key}"), reason },
        other => Error::Broker(other),
    })
}

/// The declared queue of that name, which may be given as that of its dead-letter queue.
fn declared(topology: &Topology, flag: &str, name: &str) -> Result<String, Error> {
    let own = topology.queues.keys().find(|queue| *queue == name || dead_letter_queue(queue) == name);
    own.cloned().ok_or_else(|| {
        let nearest = nearest(name, topology.queues.keys().map(String::as_str));
        let meant = nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default();
        Error::Data { what: flag.to_owned(), reason: format!("queue `{name}` is not declared{meant}") }
    })
}
