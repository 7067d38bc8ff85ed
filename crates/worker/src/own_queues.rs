//! The queues of one worker alone: what is sent to every worker, and what is sent to this one by its name.

use std::time::Duration;

use celeriac_protocol::HeaderMap;
use celeriac_protocol::headers::names;
use celeriac_topology::{
    Binding, DIRECT_EXCHANGE, ExchangeKind, ExchangeOptions, QueueKind, QueueOptions, Topology, dead_letter_queue,
    direct_queue,
};
use uuid::Uuid;

/// The time that a worker may be away before messages to all are no longer kept for it.
const AWAY: Duration = Duration::from_secs(60 * 60);

/// The name space of the ids that workers give to their own.
const OWN: Uuid = Uuid::from_u128(0x6365_6c65_7269_6163_8000_6272_6f61_6463);

/// The queue in which one worker finds what is sent to all.
pub(crate) fn own_broadcast_queue(broadcast: &str, worker: &str) -> String {
    format!("{broadcast}.{worker}")
}

/// The options of a worker's own queue, if `queue` is a broadcast.
pub(crate) fn own_broadcast_options(topology: &Topology, queue: &str) -> Option<QueueOptions> {
    let options = topology.queues.get(queue).filter(|options| options.broadcast)?;
    Some(QueueOptions {
        kind: QueueKind::Classic,
        bind: vec![Binding::new(queue, "")],
        unused_for: Some(AWAY),
        dead_letters: topology.dead_letter_queue(queue),
        broadcast: false,
        own: true,
        ..options.clone()
    })
}

/// Gives a message that went to all an id that is this worker's alone, so that its outcome, its retries and what follows
/// from it are, too. The same worker gives it the same id whenever it finds it.
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

/// Adds the queue to which tasks are sent by the name of the worker, as Celery declares it (`worker_direct`), and
/// returns its name.
pub(crate) fn add_direct_queue(topology: &mut Topology, worker: &str) -> String {
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
        // A retry comes back to the same worker under the id that it has.
        give_own_id(&mut first, "a");
        assert_eq!(first, again);
    }
}
