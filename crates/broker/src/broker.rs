//! The contract of a broker: declare, publish, consume.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::Message;
use celeriac_topology::{Ladder, Topology};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::browse::Browser;
use crate::delivery::Delivery;
use crate::error::Result;

/// A broker of messages. RabbitMQ is one; the other lives in this process.
pub trait Broker: fmt::Debug + Send + Sync + 'static {
    /// Makes exchanges, queues and bindings exist.
    ///
    /// What exists is looked at first: where its arguments differ, that is an error that names the argument.
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<()>>;

    /// Publishes a message and waits until it stands on a queue: confirmed by the broker, and not returned.
    ///
    /// Messages wait for their confirms together, in a bounded window: call again before the last call has ended.
    /// Ends within the publish timeout of the options, whatever the broker does.
    fn publish(&self, outgoing: Outgoing) -> BoxFuture<'_, Result<()>>;

    /// Subscribes to a queue. The consumer outlives lost connections: it comes back by itself.
    fn consume(&self, subscription: Subscription) -> BoxFuture<'_, Result<Consumer>>;

    /// Makes a queue for the replies that this process awaits, and subscribes to it.
    ///
    /// The queue is durable, without dead-letter queue, and nobody else's: choose a name that nobody else has. It is
    /// declared anew whenever the consumer has to come back, so that it exists as long as the consumer does. What
    /// arrives in between waits for the consumer. When the consumer ends, the queue is deleted; when the process ends
    /// without that, the broker deletes it after [`REPLIES_EXPIRE`].
    ///
    /// Ends within the publish timeout of the options, since a sender waits for it.
    fn replies<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Consumer>>;

    /// How it stands with a queue, without touching it. `None` when there is no such queue.
    ///
    /// Ends within the publish timeout of the options, since a person waits for it.
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>>>;

    /// The ladder by which messages are delayed here.
    fn ladder(&self) -> &Ladder;

    /// Begins to look through a queue, and to take out of it what is wanted.
    ///
    /// Ends within the publish timeout of the options, since a person waits for it.
    fn browse<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Box<dyn Browser>>>;

    /// How it stands with the broker, now and from now on.
    fn health(&self) -> watch::Receiver<Health>;

    /// Ends all connections. What was published and not confirmed ends with an error.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// How long a queue for replies stays without its consumer.
pub const REPLIES_EXPIRE: Duration = Duration::from_secs(60 * 60);

/// How it stands with a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// No connection yet, or none any more; one is being made where one is needed.
    Disconnected {
        /// What went wrong last.
        reason: Option<String>,
    },
    /// Connected.
    Connected,
    /// Connected, but the broker takes no messages for now (`connection.blocked`).
    Blocked {
        /// The broker's reason, such as `low on memory`.
        reason: String,
    },
}

/// How it stands with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait.
    pub ready: u32,
    /// Those who consume it.
    pub consumers: u32,
}

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The exchange; empty for the default exchange, which knows every queue by its name.
    pub exchange: Cow<'static, str>,
    /// The routing key.
    pub routing_key: String,
    /// The message.
    pub message: Message,
    /// Whether it is an error when no queue takes it. A message that is not mandatory is gone then.
    pub mandatory: bool,
}

/// What a consumer asks for.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The queue.
    pub queue: String,
    /// How many messages may be delivered and not settled.
    pub prefetch: u16,
    /// The most that [`Consumer::set_prefetch`] will ask for. Below `prefetch` it means nothing.
    pub most: u16,
    /// Name of the consumer in the broker's lists.
    pub tag: String,
}

impl Subscription {
    /// What a consumer of replies asks for. They are taken as fast as they come, so a few at a time are enough; and
    /// each may be as large as a message can be.
    pub(crate) fn to_replies(queue: &str) -> Self {
        Self { queue: queue.to_owned(), prefetch: 64, most: 64, tag: "replies".to_owned() }
    }
}

/// A subscription to one queue.
///
/// Dropping it is the same as [`Consumer::stop`], without waiting for anything.
#[derive(Debug)]
pub struct Consumer {
    queue: Arc<str>,
    deliveries: mpsc::Receiver<Delivery>,
    /// What [`Consumer::give_back`] took out of `deliveries` and kept.
    kept: VecDeque<Delivery>,
    prefetch: watch::Sender<u16>,
    consuming: watch::Receiver<bool>,
    stop: CancellationToken,
    driver: JoinHandle<()>,
}

impl Consumer {
    /// A consumer whose `driver` sends deliveries, keeps to `prefetch`, ends its sending when `stop` is cancelled, and
    /// ends itself when everything it delivered is settled.
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

    /// The queue it takes from.
    pub fn queue(&self) -> &Arc<str> {
        &self.queue
    }

    /// The next delivery. `None` after [`Consumer::stop`], when what had already arrived is taken.
    ///
    /// What arrived on a connection that was lost meanwhile is left out: the broker gives it to somebody again.
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

    /// A delivery that has already arrived.
    pub fn try_next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.arrived()?;
            if !delivery.settlement.is_void() {
                return Some(delivery);
            }
        }
    }

    /// What has arrived next, void or not.
    fn arrived(&mut self) -> Option<Delivery> {
        self.kept.pop_front().or_else(|| self.deliveries.try_recv().ok())
    }

    /// How many messages may be delivered and not settled, from now on.
    ///
    /// What was delivered before stays valid. RabbitMQ counts it apart: until it is settled there may be both. A queue
    /// with a single active consumer passes on to another when its consumer does this: leave it alone.
    pub fn set_prefetch(&self, prefetch: u16) {
        self.prefetch.send_if_modified(|now| std::mem::replace(now, prefetch) != prefetch);
    }

    /// How many messages may be delivered and not settled.
    pub fn prefetch(&self) -> u16 {
        *self.prefetch.borrow()
    }

    /// Of what has arrived and was not taken, keeps the first `keep` and gives the others back to the queue, for whoever
    /// has time. After [`Consumer::set_prefetch`], or they come straight back.
    ///
    /// A message that was delivered before, to anybody, is kept: a quorum queue counts deliveries, so each message is
    /// given back once at most.
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

    /// Whether the broker delivers at the moment: false while the connection is lost.
    pub fn consuming(&self) -> watch::Receiver<bool> {
        self.consuming.clone()
    }

    /// Asks the broker for no more.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops, and waits until everything that was delivered is settled, and the broker has taken note.
    ///
    /// Deliveries that were never taken out of the consumer go back to the queue.
    pub async fn close(mut self) {
        self.stop.cancel();
        while let Some(delivery) = self.next().await {
            delivery.settlement.requeue();
        }
        // A driver that panicked has nothing left to wait for: the broker gives its deliveries to another.
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

    /// A consumer to which these have arrived, by tag and by whether they were delivered before; and its verdicts.
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
    async fn what_has_not_begun_is_given_back_unless_it_came_back_before() {
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
}
