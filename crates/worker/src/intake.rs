//! The door: deliveries come in as long as there are free slots. Shutdown closes it first.

use std::sync::Arc;

use celeriac_broker::{Consumer, Delivery};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lifecycle::{Core, live};

/// Takes deliveries of one queue in, each when a slot is free, until the worker stops.
///
/// Returns the consumer, which still has to settle what was taken in.
pub(crate) async fn take_in(
    core: Arc<Core>,
    mut consumer: Consumer,
    lives: TaskTracker,
    stop: CancellationToken,
) -> Consumer {
    // One future for all rounds: making it anew would take a lock for each delivery.
    let mut stopped = std::pin::pin!(stop.cancelled());
    loop {
        let delivery = tokio::select! {
            biased;
            () = &mut stopped => break,
            delivery = consumer.next() => delivery,
        };
        let Some(delivery) = delivery else { break };
        // The delivery first and then the slot: a queue with nothing in it must not keep a slot from the others.
        let slot = tokio::select! {
            biased;
            () = &mut stopped => {
                delivery.settlement.requeue();
                break;
            }
            slot = free_slot(&core.slots) => slot,
        };
        let Some(slot) = slot else {
            delivery.settlement.requeue();
            break;
        };
        admit(&lives, &core, delivery, slot);
    }
    consumer.stop();
    consumer
}

fn admit(lives: &TaskTracker, core: &Arc<Core>, delivery: Delivery, slot: OwnedSemaphorePermit) {
    lives.spawn(live(Arc::clone(core), delivery, slot));
}

async fn free_slot(slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(slots).acquire_owned().await.ok()
}
