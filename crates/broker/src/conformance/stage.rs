//! Steps that the cases share: declare, send, take.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use celeriac_protocol::Message;
use celeriac_topology::{Binding, ExchangeKind, ExchangeOptions, QueueOptions, Topology};

use crate::broker::{Broker, Consumer, Outgoing, Subscription};
use crate::delivery::Delivery;
use crate::error::Result;

/// Longest wait for a message that must arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest prefetch that a case changes to.
const MOST: u16 = 16;

/// A broker, and the prefix of the names in one case.
pub(super) struct Stage {
    pub(super) broker: Arc<dyn Broker>,
    namespace: String,
}

impl Stage {
    pub(super) fn new(broker: Arc<dyn Broker>, namespace: &str) -> Self {
        Self { broker, namespace: namespace.to_owned() }
    }

    /// Returns a name that is unique to this case.
    pub(super) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.namespace)
    }

    /// Declares a queue with default options.
    pub(super) async fn queue(&self, what: &str) -> String {
        self.queue_with(what, QueueOptions::default()).await
    }

    pub(super) async fn queue_with(&self, what: &str, options: QueueOptions) -> String {
        let name = self.name(what);
        let topology = Topology { queues: [(name.clone(), options)].into(), ..Topology::default() };
        self.broker.declare(&topology).await.unwrap();
        name
    }

    /// Declares an exchange with queues, each bound by one key.
    pub(super) async fn exchange(&self, kind: ExchangeKind, queues: &[(&str, &str)]) -> String {
        let exchange = self.name("exchange");
        let bound = |key: &str| QueueOptions {
            bindings: vec![Binding::new(exchange.clone(), key.to_owned())],
            ..QueueOptions::default()
        };
        let topology = Topology {
            exchanges: [(exchange.clone(), ExchangeOptions { kind, ..ExchangeOptions::default() })].into(),
            queues: queues.iter().map(|(what, key)| (self.name(what), bound(key))).collect(),
        };
        self.broker.declare(&topology).await.unwrap();
        exchange
    }

    pub(super) async fn publish(&self, exchange: &str, routing_key: &str, message: Message) -> Result<()> {
        let exchange = exchange.to_owned().into();
        self.broker.publish(Outgoing { exchange, routing_key: routing_key.to_owned(), message, mandatory: true }).await
    }

    /// Publishes texts to a queue, one after the other.
    pub(super) async fn send(&self, queue: &str, texts: &[&str]) {
        for body in texts {
            self.publish("", queue, text(body)).await.unwrap();
        }
    }

    pub(super) async fn consume(&self, queue: &str, prefetch: u16) -> Consumer {
        let tag = self.name("consumer");
        self.broker
            .consume(Subscription { queue: queue.to_owned(), prefetch, most: MOST, priority: 0, tag })
            .await
            .unwrap()
    }

    /// Takes and acknowledges all messages of a queue, in order.
    ///
    /// A last message after all others marks the end.
    pub(super) async fn drain(&self, queue: &str) -> Vec<String> {
        const LAST: &str = "nothing comes after this";
        self.send(queue, &[LAST]).await;
        let mut consumer = self.consume(queue, 1).await;
        let mut taken = Vec::new();
        loop {
            let delivery = next(&mut consumer).await;
            let body = body(&delivery);
            delivery.settlement.ack();
            if body == LAST {
                consumer.close().await;
                return taken;
            }
            taken.push(body);
        }
    }
}

/// Returns a message with this body.
pub(super) fn text(body: &str) -> Message {
    Message { body: Bytes::copy_from_slice(body.as_bytes()), ..Message::default() }
}

/// Returns the next delivery, which must arrive.
pub(super) async fn next(consumer: &mut Consumer) -> Delivery {
    match tokio::time::timeout(PATIENCE, consumer.next()).await {
        Ok(Some(delivery)) => delivery,
        Ok(None) => panic!("the consumer of `{}` has ended", consumer.queue()),
        Err(_) => panic!("nothing came from `{}` within {PATIENCE:?}", consumer.queue()),
    }
}

/// Returns the body as text.
pub(super) fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}
