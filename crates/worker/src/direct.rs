//! Tasks that are sent to this worker by its name: Celery's `worker_direct`.

use celeriac_topology::{
    Binding, DIRECT_EXCHANGE, ExchangeKind, ExchangeOptions, QueueKind, QueueOptions, Topology, dead_letter_queue,
    direct_queue,
};

/// Adds the queue of this worker alone, as Celery declares it; its name.
pub(crate) fn add_to(topology: &mut Topology, worker: &str) -> String {
    let exchange = ExchangeOptions { kind: ExchangeKind::Direct, ..ExchangeOptions::default() };
    topology.exchanges.insert(DIRECT_EXCHANGE.to_owned(), exchange);
    let queue = direct_queue(worker);
    let options = QueueOptions {
        kind: QueueKind::Classic,
        bind: vec![Binding::new(DIRECT_EXCHANGE, worker)],
        // One for all workers, since names of workers come and go.
        dead_letters: Some(dead_letter_queue(DIRECT_EXCHANGE)),
        own: true,
        plain: true,
        ..QueueOptions::default()
    };
    topology.queues.insert(queue.clone(), options);
    queue
}
