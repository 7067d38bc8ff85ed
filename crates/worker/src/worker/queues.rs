//! Selects the queues that a worker consumes.

use std::collections::HashSet;

use celeriac_topology::{QueueKind, Topology};

use crate::error::{Error, Result};
use crate::options::WorkerOptions;
use crate::own_queues::{add_direct_queue, own_broadcast_options, own_broadcast_queue};

/// The queues of a worker.
pub(super) struct ConsumedQueues {
    pub(super) queues: Vec<String>,
    /// Queues for this worker's copies of broadcasts.
    pub(super) broadcasts: HashSet<String>,
}

/// Returns the queues that a worker consumes. Adds those of this worker alone to the topology.
pub(super) fn consumed_queues(options: &WorkerOptions, topology: &mut Topology, name: &str) -> Result<ConsumedQueues> {
    let mut broadcasts = HashSet::new();
    let mut queues = chosen_queues(options, topology)?;
    for queue in &mut queues {
        if let Some(options) = own_broadcast_options(topology, queue) {
            *queue = own_broadcast_queue(queue, name);
            topology.queues.insert(queue.clone(), options);
            broadcasts.insert(queue.clone());
        }
    }
    if options.direct_queue {
        queues.push(add_direct_queue(topology, name));
    }
    Ok(ConsumedQueues { queues, broadcasts })
}

fn chosen_queues(options: &WorkerOptions, topology: &Topology) -> Result<Vec<String>> {
    if options.queues.is_empty() {
        return Ok(topology.work_queues().map(str::to_owned).collect());
    }
    let is_stream =
        |queue: &&String| topology.queues.get(*queue).is_some_and(|options| options.kind == QueueKind::Stream);
    if let Some(stream) = options.queues.iter().find(is_stream) {
        return Err(Error::Stream { queue: stream.clone() });
    }
    let unknown = options.queues.iter().find(|queue| !topology.queues.contains_key(*queue));
    match unknown {
        None => Ok(options.queues.clone()),
        Some(queue) => Err(Error::UnknownQueue {
            queue: queue.clone(),
            nearest: celeriac_config::nearest(queue, topology.queues.keys().map(String::as_str)).map(str::to_owned),
        }),
    }
}
