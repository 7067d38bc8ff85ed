//! The queues that a worker consumes at present, for those that look at them and change them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use celeriac_broker::{Consumer, Delivery, DeliveryInfo};
use celeriac_protocol::Message;
use celeriac_topology::Prefetch;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::slots::SlotMeter;

/// The queues that a worker consumes.
#[derive(Debug)]
pub(crate) struct LiveQueues {
    queues: Mutex<Vec<LiveQueue>>,
    added: mpsc::Sender<AddedConsumer>,
}

/// A consumer that was added while the worker runs.
#[derive(Debug)]
pub(crate) struct AddedConsumer {
    pub(crate) consumer: Consumer,
    pub(crate) prefetch: Prefetch,
}

/// A queue that is consumed.
#[derive(Debug, Clone)]
pub(crate) struct LiveQueue {
    pub(crate) name: Arc<str>,
    pub(crate) meter: Arc<SlotMeter>,
    /// Ends its consumption.
    pub(crate) stop: CancellationToken,
    looks: mpsc::Sender<oneshot::Sender<Vec<HeldMessage>>>,
}

/// Requests to see the messages that a consumer holds.
pub(crate) type HeldLooks = mpsc::Receiver<oneshot::Sender<Vec<HeldMessage>>>;

/// A message that has arrived and has not started.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    pub(crate) message: Message,
    pub(crate) origin: DeliveryInfo,
}

impl HeldMessage {
    /// Returns the message of a delivery. The body is not copied.
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Self { message: delivery.message.clone(), origin: delivery.origin.clone() }
    }
}

impl LiveQueues {
    /// Returns an empty list, and the receiver of consumers that are added while the worker runs.
    pub(crate) fn new() -> (Self, mpsc::Receiver<AddedConsumer>) {
        let (added, consumers) = mpsc::channel(16);
        (Self { queues: Mutex::default(), added }, consumers)
    }

    /// Adds a queue. Returns the receiver of requests to see its messages.
    pub(crate) fn enter(&self, name: &Arc<str>, meter: &Arc<SlotMeter>, stop: &CancellationToken) -> HeldLooks {
        let (looks, requests) = mpsc::channel(16);
        let queue = LiveQueue { name: Arc::clone(name), meter: Arc::clone(meter), stop: stop.clone(), looks };
        self.lock().push(queue);
        requests
    }

    /// Removes a queue that has ended, by the meter that it entered with.
    pub(crate) fn leave(&self, meter: &Arc<SlotMeter>) {
        self.lock().retain(|queue| !Arc::ptr_eq(&queue.meter, meter));
    }

    /// Returns the queues.
    pub(crate) fn list(&self) -> Vec<LiveQueue> {
        self.lock().clone()
    }

    /// Gives a consumer to the worker. Returns `false` if the worker takes no more.
    pub(crate) async fn add(&self, added: AddedConsumer) -> bool {
        self.added.send(added).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LiveQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LiveQueue {
    /// Returns the messages that have arrived and have not started, or `None` if the queue ends.
    pub(crate) async fn held(&self) -> Option<Vec<HeldMessage>> {
        let (answer, held) = oneshot::channel();
        self.looks.send(answer).await.ok()?;
        held.await.ok()
    }
}
