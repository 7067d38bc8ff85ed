//! The queues of one worker: for broadcasts, and for messages to its name.

use std::time::Duration;

use celeriac_broker::Broker;
use celeriac_protocol::HeaderMap;
use celeriac_protocol::headers::names;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::worker::WorkerNameShared;
use celeriac_topology::{
    Binding, DIRECT_EXCHANGE, ExchangeKind, ExchangeOptions, QueueKind, QueueOptions, Topology, dead_letter_queue,
    direct_queue,
};
use uuid::Uuid;

/// Time that a worker may be absent before its messages from broadcasts are discarded.
const AWAY: Duration = Duration::from_secs(60 * 60);

/// UUID namespace of the ids of a worker's copies of a broadcast.
const OWN: Uuid = Uuid::from_u128(0x6365_6c65_7269_6163_8000_6272_6f61_6463);

/// Returns the name of the queue with one worker's copies of a broadcast.
pub(crate) fn own_broadcast_queue(broadcast: &str, worker: &str) -> String {
    format!("{broadcast}.{worker}")
}

/// Returns the options of a worker's own queue, if `queue` is a broadcast.
pub(crate) fn own_broadcast_options(topology: &Topology, queue: &str) -> Option<QueueOptions> {
    let options = topology.queues.get(queue).filter(|options| options.broadcast)?;
    Some(QueueOptions {
        kind: QueueKind::Classic,
        bindings: vec![Binding::new(queue, "")],
        expires: Some(AWAY),
        dead_letter_queue: topology.dead_letter_queue(queue),
        broadcast: false,
        own: true,
        ..options.clone()
    })
}

/// Replaces the id of a message of a broadcast by one of this worker's own, so that its outcome,
/// retries and follow-ups are separate.
///
/// The same worker always derives the same id.
pub(crate) fn give_own_id(headers: &mut HeaderMap, worker: &str) {
    let Some(id) = headers.text(names::ID).map(str::to_owned) else { return };
    if headers.get(names::BROADCAST).is_some() {
        return;
    }
    let own = Uuid::new_v5(&OWN, format!("{id}/{worker}").as_bytes()).to_string();
    if headers.text(names::ROOT_ID).is_none() {
        headers.insert(names::ROOT_ID, id.clone());
    }
    headers.insert(names::PARENT_ID, id.clone());
    headers.insert(names::BROADCAST, id);
    headers.insert(names::ID, own);
}

/// Adds the queue for tasks that are sent to the worker's name, as Celery declares it
/// (`worker_direct`), and returns its name.
pub(crate) fn add_direct_queue(topology: &mut Topology, worker: &str) -> String {
    let exchange = ExchangeOptions { kind: ExchangeKind::Direct, ..ExchangeOptions::default() };
    topology.exchanges.insert(DIRECT_EXCHANGE.to_owned(), exchange);
    let queue = direct_queue(worker);
    let options = QueueOptions {
        kind: QueueKind::Classic,
        bindings: vec![Binding::new(DIRECT_EXCHANGE, worker)],
        // One queue for all workers, so that none is left behind by a worker that never returns.
        dead_letter_queue: Some(dead_letter_queue(DIRECT_EXCHANGE)),
        own: true,
        plain: true,
        ..QueueOptions::default()
    };
    topology.queues.insert(queue.clone(), options);
    queue
}

/// Warns if a queue of this worker has a second consumer: a worker of the same name. Errors are
/// left to the consumers, which meet them too.
pub(crate) async fn warn_of_shared_name(broker: &dyn Broker, topology: &Topology, name: &str) {
    for (queue, _) in topology.queues.iter().filter(|(_, options)| options.own) {
        if let Ok(Some(depth)) = broker.depth(queue).await
            && depth.consumers > 1
        {
            WorkerNameShared { name, queue }.emit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_an_id_of_its_own_and_always_the_same() {
        let sent = || -> HeaderMap { [(names::ID, "1".into()), (names::TASK, "reload".into())].into_iter().collect() };
        let (mut first, mut again, mut other) = (sent(), sent(), sent());
        give_own_id(&mut first, "a");
        give_own_id(&mut again, "a");
        give_own_id(&mut other, "b");
        assert_eq!(first, again);
        assert_ne!(first.text(names::ID), other.text(names::ID));
        assert_eq!(first.text(names::PARENT_ID), Some("1"));
        assert_eq!(first.text(names::ROOT_ID), Some("1"));
        // A retry to the same worker keeps the id.
        give_own_id(&mut first, "a");
        assert_eq!(first, again);
    }
}
