//! The contract of a broker: declare, publish, consume.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::Message;
use celeriac_telemetry::Supervisor;
use celeriac_topology::{ExchangeKind, Ladder, Topology};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::browse::Browser;
use crate::delivery::Delivery;
use crate::error::Result;

/// A message broker: RabbitMQ, or the broker in this process.
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Declares exchanges, queues and bindings.
    ///
    /// An existing object is compared first. A different argument is an error that names the
    /// argument.
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>>;

    /// Publishes a message and waits until it is on a queue: confirmed by the broker, and not
    /// returned.
    ///
    /// Calls may overlap: messages wait for their confirms together, in a bounded window. A call
    /// ends within the publish timeout of the options in any case.
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<()>>;

    /// Subscribes to a queue. The consumer restores itself after a lost connection.
    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, Result<Consumer>>;

    /// Declares a queue for the replies that this process awaits, and subscribes to it.
    ///
    /// The queue is durable, has no dead-letter queue, and belongs to this process alone: give it a
    /// unique name. Each time the consumer returns after a loss, it declares the queue again.
    /// Replies that arrive in between wait for the consumer. The queue is deleted when the consumer
    /// ends. If the process ends first, the broker deletes the queue after [`REPLIES_EXPIRE`].
    ///
    /// The call ends within the publish timeout of the options, because a sender waits for it.
    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Consumer>>;

    /// Declares a queue of this process alone for messages that may be lost, and subscribes to it.
    ///
    /// Each time the consumer returns after a loss, it declares the queue and the exchanges again.
    /// The broker deletes the queue with the connection. Messages that arrive in between are lost.
    ///
    /// The call ends within the publish timeout of the options, because a sender waits for it.
    ///
    /// # Errors
    /// Returns an error if another connection has the queue.
    fn consume_transient(&self, queue: TransientQueue) -> BoxFuture<'_, Result<Consumer>>;

    /// Returns the depth of a queue, or `None` if the queue does not exist. Changes nothing.
    ///
    /// The call ends within the publish timeout of the options, because a person waits for it.
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>>>;

    /// Returns the ladder that delays messages on this broker.
    fn ladder(&self) -> &Ladder;

    /// Starts to browse a queue, and to remove chosen messages from it.
    ///
    /// The call ends within the publish timeout of the options, because a person waits for it.
    fn browse<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Box<dyn Browser>>>;

    /// Returns a watch of the broker's health.
    fn health(&self) -> watch::Receiver<BrokerHealth>;

    /// Returns the supervisor of the services of the broker, such as its subscriptions.
    fn services(&self) -> &Supervisor;

    /// Returns the time for which the broker has blocked publishing so far, all blocks together.
    fn blocked_time(&self) -> Duration {
        Duration::ZERO
    }

    /// Closes all connections. A publish without a confirm ends with an error.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Time after which a reply queue without a consumer is deleted.
pub const REPLIES_EXPIRE: Duration = Duration::from_secs(60 * 60);

/// Health of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerHealth {
    /// There is no connection. The next operation makes one.
    Disconnected {
        /// The last error.
        reason: Option<String>,
    },
    /// There is a connection.
    Connected,
    /// There is a connection, but the broker blocks publishing (`connection.blocked`).
    Blocked {
        /// The broker's reason, such as `low on memory`.
        reason: String,
    },
}

impl BrokerHealth {
    /// Returns `true` if the broker is known to be away, or to block publishers. The broker logs
    /// both itself.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Disconnected { reason } => reason.is_some(),
            Self::Connected => false,
            Self::Blocked { .. } => true,
        }
    }
}

/// A queue of one process for messages that may be lost, as Celery declares them for its remote
/// control. It is bound to one exchange. Neither outlives the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransientQueue {
    /// Name of the queue.
    pub name: String,
    /// The exchange that it is bound to.
    pub exchange: TransientExchange,
    /// Key of the binding.
    pub routing_key: String,
    /// The exchange that its owner publishes to, which is declared with the queue.
    pub publishes_to: TransientExchange,
    /// Time after which a queue without a consumer is deleted.
    pub expires: Duration,
    /// Time that a message may wait.
    pub message_ttl: Duration,
}

/// An exchange that does not survive the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransientExchange {
    /// Name of the exchange.
    pub name: &'static str,
    /// Type of the exchange.
    pub kind: ExchangeKind,
}

/// The depth of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Number of ready messages.
    pub ready: u32,
    /// Number of consumers.
    pub consumers: u32,
}

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The exchange. Empty for the default exchange, which routes to each queue by its name.
    pub exchange: Cow<'static, str>,
    /// The routing key.
    pub routing_key: String,
    /// The message.
    pub message: Message,
    /// True if it is an error when no queue takes the message. If false, such a message is
    /// discarded.
    pub mandatory: bool,
}

/// The settings of a consumer.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The queue.
    pub queue: String,
    /// Largest number of unsettled deliveries.
    pub prefetch: u16,
    /// Largest value that [`Consumer::set_prefetch`] will be called with. A value below `prefetch`
    /// has no effect.
    pub most: u16,
    /// RabbitMQ delivers to the consumers of the highest priority while their prefetch allows more.
    /// The memory broker knows no priorities.
    pub priority: i32,
    /// Name of the consumer in the broker's lists.
    pub tag: String,
}

impl Subscription {
    /// Returns the settings of a reply consumer. Its prefetch is small, because replies are handled
    /// at once, and each may be as large as any message.
    pub(crate) fn to_replies(queue: &str) -> Self {
        Self { queue: queue.to_owned(), prefetch: 64, most: 64, priority: 0, tag: "replies".to_owned() }
    }

    /// Returns the settings of the consumer of a transient queue. Its messages are small, and
    /// handled at once.
    pub(crate) fn to_transient(queue: &TransientQueue) -> Self {
        Self { queue: queue.name.clone(), prefetch: 16, most: 16, priority: 0, tag: "transient".to_owned() }
    }
}

/// A subscription to one queue.
///
/// Dropping it does the same as [`Consumer::stop`], and waits for nothing.
#[derive(Debug)]
pub struct Consumer {
    queue: Arc<str>,
    deliveries: mpsc::Receiver<Delivery>,
    /// Deliveries that [`Consumer::give_back`] took from `deliveries` and kept.
    kept: VecDeque<Delivery>,
    prefetch: watch::Sender<u16>,
    consuming: watch::Receiver<bool>,
    stop: CancellationToken,
    driver: JoinHandle<()>,
}

impl Consumer {
    /// Returns a consumer with its `driver`.
    ///
    /// The driver sends deliveries, applies `prefetch`, and stops sending when `stop` is cancelled.
    /// It ends when everything that it delivered is settled.
    pub(crate) fn new(
        queue: Arc<str>,
        deliveries: mpsc::Receiver<Delivery>,
        prefetch: watch::Sender<u16>,
        consuming: watch::Receiver<bool>,
        stop: CancellationToken,
        driver: JoinHandle<()>,
    ) -> Self {
        Self { queue, deliveries, kept: VecDeque::new(), prefetch, consuming, stop, driver }
    }

    /// Returns the queue.
    pub fn queue(&self) -> &Arc<str> {
        &self.queue
    }

    /// Returns the next delivery, or `None` after [`Consumer::stop`] when no arrived delivery is
    /// left.
    ///
    /// Deliveries of a lost connection are skipped, because the broker redelivers them.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = match self.kept.pop_front() {
                Some(kept) => kept,
                None => self.deliveries.recv().await?,
            };
            if !delivery.settlement.is_void() {
                return Some(delivery);
            }
        }
    }

    /// Returns a delivery that has already arrived.
    pub fn try_next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.arrived()?;
            if !delivery.settlement.is_void() {
                return Some(delivery);
            }
        }
    }

    /// Returns the deliveries that have arrived and were not taken. They stay where they are.
    pub fn waiting(&mut self) -> impl Iterator<Item = &Delivery> {
        while let Ok(delivery) = self.deliveries.try_recv() {
            self.kept.push_back(delivery);
        }
        self.kept.iter().filter(|delivery| !delivery.settlement.is_void())
    }

    /// Returns the next delivery that has arrived, void or not.
    fn arrived(&mut self) -> Option<Delivery> {
        self.kept.pop_front().or_else(|| self.deliveries.try_recv().ok())
    }

    /// Sets the largest number of unsettled deliveries.
    ///
    /// Earlier deliveries stay valid. RabbitMQ counts them separately, so for a while both numbers
    /// may be unsettled. Do not call this for a queue with a single active consumer: RabbitMQ then
    /// chooses another consumer.
    pub fn set_prefetch(&self, prefetch: u16) {
        self.prefetch.send_if_modified(|now| std::mem::replace(now, prefetch) != prefetch);
    }

    /// Returns the largest number of unsettled deliveries.
    pub fn prefetch(&self) -> u16 {
        *self.prefetch.borrow()
    }

    /// Requeues the deliveries that have arrived but were not taken, except the first `keep`.
    ///
    /// Call [`Consumer::set_prefetch`] first, or the broker delivers the messages to this consumer
    /// again. A redelivered message is kept: a quorum queue counts deliveries, so each message is
    /// requeued at most once.
    pub fn give_back(&mut self, keep: usize) {
        let mut kept = VecDeque::new();
        while let Some(delivery) = self.try_next() {
            if kept.len() < keep || delivery.origin.redelivered {
                kept.push_back(delivery);
            } else {
                delivery.settlement.requeue();
            }
        }
        self.kept = kept;
    }

    /// Requeues the deliveries that have not been taken and arrived at least this long ago. Returns
    /// their number.
    pub fn give_back_older(&mut self, age: Duration) -> usize {
        let (mut kept, mut returned) = (VecDeque::new(), 0);
        while let Some(delivery) = self.try_next() {
            if delivery.settlement.arrived().elapsed() < age {
                kept.push_back(delivery);
            } else {
                delivery.settlement.requeue();
                returned += 1;
            }
        }
        self.kept = kept;
        returned
    }

    /// Returns a watch that is true while the broker delivers, and false while the connection is
    /// lost.
    pub fn consuming(&self) -> watch::Receiver<bool> {
        self.consuming.clone()
    }

    /// Cancels the consumer.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Cancels the consumer, and waits until every delivery is settled and the broker has confirmed
    /// it.
    ///
    /// Deliveries that were never taken out of the consumer return to the queue.
    pub async fn close(mut self) {
        self.stop.cancel();
        while let Some(delivery) = self.next().await {
            delivery.settlement.requeue();
        }
        // If the driver has panicked, its channel is closed and the broker requeues its deliveries.
        let _ = (&mut self.driver).await;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.deliveries.close();
        while let Some(delivery) = self.try_next() {
            delivery.settlement.requeue();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::delivery::DeliveryInfo;
    use crate::settle::{Settled, Settlement, SettlementKind};

    /// Returns a consumer with these deliveries, each with its tag and its redelivered flag, and
    /// the receiver of its settlements.
    fn consumer(arrived: &[(u64, bool)]) -> (Consumer, mpsc::UnboundedReceiver<Settled>) {
        let (out, deliveries) = mpsc::channel(arrived.len());
        let (verdicts, settled) = mpsc::unbounded_channel();
        let queue: Arc<str> = "mail".into();
        for &(tag, redelivered) in arrived {
            let (exchange, routing_key) = (String::new(), "mail".to_owned());
            let origin = DeliveryInfo { queue: Arc::clone(&queue), exchange, routing_key, redelivered };
            let settlement = Settlement::new(0, tag, Arc::clone(&queue), verdicts.clone());
            out.try_send(Delivery { message: Message::default(), origin, settlement }).unwrap();
        }
        let driver = TaskTracker::new().spawn(async {});
        let (prefetch, consuming) = (watch::Sender::new(8), watch::channel(true).1);
        (Consumer::new(queue, deliveries, prefetch, consuming, CancellationToken::new(), driver), settled)
    }

    fn requeued(settled: &mut mpsc::UnboundedReceiver<Settled>) -> Vec<u64> {
        let told = std::iter::from_fn(|| settled.try_recv().ok());
        told.inspect(|settled| assert_eq!(settled.verdict, SettlementKind::Requeue))
            .map(|settled| settled.tag)
            .collect()
    }

    #[tokio::test]
    async fn deliveries_that_were_not_taken_are_requeued_at_most_once() {
        let (mut consumer, mut settled) =
            consumer(&[(1, false), (2, false), (3, true), (4, false), (5, true), (6, false)]);
        consumer.give_back(2);
        assert_eq!(requeued(&mut settled), [4, 6]);
        consumer.give_back(1);
        assert_eq!(requeued(&mut settled), [2]);
        consumer.give_back(0);
        assert_eq!(requeued(&mut settled), [1]);
        consumer.next().await.unwrap().settlement.requeue();
        drop(consumer);
        assert_eq!(requeued(&mut settled), [3, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_that_have_waited_are_requeued_and_later_ones_stay() {
        let (mut consumer, mut settled) = consumer(&[(1, false), (2, true)]);
        assert_eq!(consumer.give_back_older(Duration::from_secs(60)), 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(consumer.give_back_older(Duration::from_secs(60)), 2);
        assert_eq!(requeued(&mut settled), [1, 2]);
    }
}
