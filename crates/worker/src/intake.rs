//! The door: deliveries come in as long as there are free slots. Shutdown closes it first.

use std::sync::Arc;

use celeriac_broker::{Consumer, Delivery};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lifecycle::{Core, live};
use crate::slots::{Meter, Slot};
use crate::tuning::Bound;

/// The way in from one queue.
pub(crate) struct Door {
    pub(crate) core: Arc<Core>,
    pub(crate) consumer: Consumer,
    pub(crate) meter: Arc<Meter>,
    /// How many messages it may hold. Its end means no more than that it stays as it is.
    pub(crate) bound: watch::Receiver<Bound>,
    pub(crate) lives: TaskTracker,
}

impl Door {
    /// Takes deliveries in, each when a slot is free, until the worker stops.
    ///
    /// Returns the consumer, which still has to settle what was taken in.
    pub(crate) async fn take_in(mut self, stop: CancellationToken) -> Consumer {
        // One future for all rounds: making it anew would take a lock for each delivery.
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let delivery = tokio::select! {
                biased;
                () = &mut stopped => break,
                delivery = self.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            // The delivery first and then the slot: a queue with nothing in it must not keep a slot from the others.
            let slot = tokio::select! {
                biased;
                () = &mut stopped => None,
                slot = self.free_slot() => slot,
            };
            let Some(slot) = slot else {
                delivery.settlement.requeue();
                break;
            };
            self.admit(delivery, slot);
        }
        self.consumer.stop();
        self.consumer
    }

    async fn next(&mut self) -> Option<Delivery> {
        // Where deliveries never let us wait, this is the only look.
        if self.bound.has_changed().unwrap_or(false) {
            keep_to(&mut self.consumer, *self.bound.borrow_and_update());
        }
        loop {
            tokio::select! {
                biased;
                delivery = self.consumer.next() => return delivery,
                Ok(()) = self.bound.changed() => keep_to(&mut self.consumer, *self.bound.borrow_and_update()),
            }
        }
    }

    async fn free_slot(&mut self) -> Option<Slot> {
        // One future for all rounds: the place among those who wait must not be lost.
        let mut slot = std::pin::pin!(self.core.slots.take(&self.meter));
        loop {
            tokio::select! {
                biased;
                slot = &mut slot => return slot,
                Ok(()) = self.bound.changed() => keep_to(&mut self.consumer, *self.bound.borrow_and_update()),
            }
        }
    }

    fn admit(&self, delivery: Delivery, slot: Slot) {
        self.lives.spawn(live(Arc::clone(&self.core), delivery, slot));
    }
}

fn keep_to(consumer: &mut Consumer, bound: Bound) {
    consumer.set_prefetch(bound.prefetch);
    if let Some(keep) = bound.keep {
        consumer.give_back(keep);
    }
}
