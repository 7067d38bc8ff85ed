//! Consumes one queue. Takes deliveries while slots are free. A shutdown ends this first.

use std::sync::Arc;

use celeriac_broker::{Consumer, Delivery};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::process::process_delivery;
use crate::intake::tuning::PrefetchBound;
use crate::runtime::WorkerRuntime;
use crate::slots::{SlotMeter, TaskSlot};

/// The consumer of one queue.
pub(crate) struct QueueConsumer {
    pub(crate) runtime: Arc<WorkerRuntime>,
    pub(crate) consumer: Consumer,
    pub(crate) meter: Arc<SlotMeter>,
    /// The number of messages that it may hold. The last value stays valid if the sender is
    /// dropped.
    pub(crate) bound: watch::Receiver<PrefetchBound>,
    pub(crate) attempts: TaskTracker,
}

impl QueueConsumer {
    /// Takes deliveries, each when a slot is free, until the worker stops.
    ///
    /// Returns the consumer, which still has to settle its deliveries.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Consumer {
        // One future for all iterations, because a new one would take a lock for each delivery.
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let delivery = tokio::select! {
                biased;
                () = &mut stopped => break,
                delivery = self.next() => delivery,
            };
            let Some(delivery) = delivery else { break };
            // The delivery comes first, because an empty queue must not occupy a slot.
            let slot = tokio::select! {
                biased;
                () = &mut stopped => None,
                slot = self.free_slot() => slot,
            };
            let Some(slot) = slot else {
                delivery.settlement.requeue();
                break;
            };
            self.begin(delivery, slot);
        }
        self.consumer.stop();
        self.consumer
    }

    async fn next(&mut self) -> Option<Delivery> {
        // If a delivery is always ready, the loop below never looks at the bound.
        if self.bound.has_changed().unwrap_or(false) {
            apply_prefetch(&mut self.consumer, *self.bound.borrow_and_update());
        }
        loop {
            tokio::select! {
                biased;
                delivery = self.consumer.next() => return delivery,
                Ok(()) = self.bound.changed() => apply_prefetch(&mut self.consumer, *self.bound.borrow_and_update()),
            }
        }
    }

    async fn free_slot(&mut self) -> Option<TaskSlot> {
        // One future for all iterations, because it keeps its position among the waiters.
        let mut slot = std::pin::pin!(self.runtime.slots.take(&self.meter));
        loop {
            tokio::select! {
                biased;
                slot = &mut slot => return slot,
                Ok(()) = self.bound.changed() => apply_prefetch(&mut self.consumer, *self.bound.borrow_and_update()),
            }
        }
    }

    fn begin(&self, delivery: Delivery, slot: TaskSlot) {
        self.attempts.spawn(process_delivery(Arc::clone(&self.runtime), delivery, slot));
    }
}

fn apply_prefetch(consumer: &mut Consumer, bound: PrefetchBound) {
    consumer.set_prefetch(bound.prefetch);
    if let Some(keep) = bound.keep {
        consumer.give_back(keep);
    }
}
