//! Consumes one queue. Takes deliveries while slots are free. A shutdown ends this first.

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Consumer, Delivery};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::delivery::DeliveriesReturned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::process::process_delivery;
use crate::intake::tuning::PrefetchBound;
use crate::live_queues::{HeldLooks, HeldMessage};
use crate::runtime::WorkerRuntime;
use crate::slots::{SlotMeter, TaskSlot};

/// Number of looks for old deliveries within RabbitMQ's `consumer_timeout`.
const LOOKS: u32 = 16;

/// Longest time between two of these looks.
const LONGEST_LOOK: Duration = Duration::from_secs(3_600);

/// The consumer of one queue.
pub(crate) struct QueueConsumer {
    runtime: Arc<WorkerRuntime>,
    pub(crate) consumer: Consumer,
    meter: Arc<SlotMeter>,
    /// The number of messages that it may hold. The last value stays valid if the sender is
    /// dropped.
    bound: watch::Receiver<PrefetchBound>,
    attempts: TaskTracker,
    /// Most tasks of the queue that run at once: its prefetch, if that is a number.
    most: usize,
    /// Requests to see the messages that wait for a slot.
    looks: HeldLooks,
    /// Time at which it next looks for deliveries that wait for too long.
    next_look: Instant,
}

impl QueueConsumer {
    pub(crate) fn new(
        runtime: Arc<WorkerRuntime>,
        consumer: Consumer,
        meter: Arc<SlotMeter>,
        bound: watch::Receiver<PrefetchBound>,
        attempts: TaskTracker,
        most: usize,
        looks: HeldLooks,
    ) -> Self {
        Self { runtime, consumer, meter, bound, attempts, most, looks, next_look: Instant::now() }
    }

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
                slot = self.free_slot(&delivery) => slot,
            };
            match slot {
                Some(slot) => self.begin(delivery, slot),
                None => delivery.settlement.requeue(),
            }
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
                Some(look) = self.looks.recv() => drop(look.send(Vec::new())),
            }
        }
    }

    /// Waits for a slot. Returns `None` for a delivery that has waited for too long.
    async fn free_slot(&mut self, delivery: &Delivery) -> Option<TaskSlot> {
        // One future for all iterations, because it keeps its position among the waiters.
        let most = self.most;
        let mut slot = std::pin::pin!(async {
            self.meter.await_room(most).await;
            self.runtime.slots.take(&self.meter).await
        });
        loop {
            tokio::select! {
                biased;
                slot = &mut slot => return slot,
                Ok(()) = self.bound.changed() => apply_prefetch(&mut self.consumer, *self.bound.borrow_and_update()),
                Some(look) = self.looks.recv() => {
                    let held = std::iter::once(delivery).chain(self.consumer.waiting()).map(HeldMessage::of);
                    let _ = look.send(held.collect());
                }
                () = sleep_until(self.next_look) => {
                    self.next_look = Instant::now() + (self.runtime.consumer_timeout / LOOKS).min(LONGEST_LOOK);
                    if return_old(&mut self.consumer, delivery, self.runtime.consumer_timeout / 2) {
                        return None;
                    }
                }
            }
        }
    }

    fn begin(&self, delivery: Delivery, slot: TaskSlot) {
        self.attempts.spawn(process_delivery(Arc::clone(&self.runtime), delivery, slot));
    }
}

/// Requeues deliveries that have waited for a slot for `age`, so that RabbitMQ does not close the
/// channel because of them. Returns `true` if the next delivery has to be requeued too.
fn return_old(consumer: &mut Consumer, next: &Delivery, age: Duration) -> bool {
    let is_old = next.settlement.arrived().elapsed() >= age;
    let returned = consumer.give_back_older(age) + usize::from(is_old);
    if returned > 0 {
        DeliveriesReturned { queue: consumer.queue(), returned, waited: age }.emit();
    }
    is_old
}

fn apply_prefetch(consumer: &mut Consumer, bound: PrefetchBound) {
    consumer.set_prefetch(bound.prefetch);
    if let Some(keep) = bound.keep {
        consumer.give_back(keep);
    }
}
