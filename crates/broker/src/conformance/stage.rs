//! What all cases do: declare, send, take.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use celeriac_protocol::Message;
use celeriac_topology::{Binding, ExchangeKind, ExchangeOptions, QueueOptions, Topology};

use crate::broker::{Broker, Consumer, Outgoing, Subscription};
use crate::delivery::Delivery;
use crate::error::Result;

/// How long a message that has to come may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest prefetch that a case changes to.
const MOST: u16 = 16;

/// A broker, and a part of its names that belongs to one case.
pub(super) struct Stage {
    pub(super) broker: Arc<dyn Broker>,
    namespace: String,
}

impl Stage {
    pub(super) fn new(broker: Arc<dyn Broker>, namespace: &str) -> Self {
        Self { broker, namespace: namespace.to_owned() }
    }

    /// A name that only this case has.
    pub(super) fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.namespace)
    }

    /// A queue as it is by default.
    pub(super) async fn queue(&self, what: &str) -> String {
        self.queue_with(what, QueueOptions::default()).await
    }

    pub(super) async fn queue_with(&self, what: &str, options: QueueOptions) -> String {
        let name = self.name(what);
        let topology = Topology { queues: [(name.clone(), options)].into(), ..Topology::default() };
        self.broker.declare(&topology).await.unwrap();
        name
    }

    /// An exchange and queues that are bound to it, each by one key.
    pub(super) async fn exchange(&self, kind: ExchangeKind, queues: &[(&str, &str)]) -> String {
        let exchange = self.name("exchange");
        let bound = |key: &str| QueueOptions {
            bind: vec![Binding::new(exchange.clone(), key.to_owned())],
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

    /// Puts texts on a queue, one after the other.
    pub(super) async fn send(&self, queue: &str, texts: &[&str]) {
        for body in texts {
            self.publish("", queue, text(body)).await.unwrap();
        }
    }

    pub(super) async fn consume(&self, queue: &str, prefetch: u16) -> Consumer {
        let tag = self.name("consumer");
        self.broker.consume(Subscription { queue: queue.to_owned(), prefetch, most: MOST, tag }).await.unwrap()
    }

    /// Takes and acknowledges everything on a queue, in order.
    ///
    /// That there is no more is seen by a last message that is put behind all others.
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

/// A message with this body.
pub(super) fn text(body: &str) -> Message {
    Message { body: Bytes::copy_from_slice(body.as_bytes()), ..Message::default() }
}

/// The next delivery, which has to come.
pub(super) async fn next(consumer: &mut Consumer) -> Delivery {
    match tokio::time::timeout(PATIENCE, consumer.next()).await {
        Ok(Some(delivery)) => delivery,
        Ok(None) => panic!("the consumer of `{}` has ended", consumer.queue()),
        Err(_) => panic!("nothing came from `{}` within {PATIENCE:?}", consumer.queue()),
    }
}

/// The body, as text.
pub(super) fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.body.to_vec()).unwrap()
}
