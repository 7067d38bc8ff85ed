//! A bare client of the broker.
//!
//! Messages are described in AMQP's terms, in RabbitMQ and in memory.
//!
//! - `amqp`: a bare client of RabbitMQ;
//! - `memory`: the same on the broker in memory.

mod amqp;
mod memory;

use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, Channel};
use serde_json::Value as Json;

use amqp::AmqpPeer;
use memory::MemoryPeer;

/// A bare client, which publishes to any queue and reads any.
#[derive(Debug)]
pub struct Peer {
    side: Side,
}

#[derive(Debug)]
enum Side {
    Amqp(Box<AmqpPeer>),
    Memory(MemoryPeer),
}

/// A message on a queue.
#[derive(Debug)]
pub struct Found {
    /// The headers.
    pub headers: FieldTable,
    /// The body.
    pub body: Vec<u8>,
    /// The reply queue.
    pub reply_to: Option<String>,
    /// The correlation id for replies.
    pub correlation_id: Option<String>,
}

impl Found {
    /// Returns a header that is text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.inner().get(name).and_then(|value| value.as_long_string()).map(ToString::to_string)
    }

    /// Returns `true` if there is such a header.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.inner().contains_key(name)
    }
}

impl Peer {
    /// Connects to RabbitMQ.
    pub async fn connect(url: &str) -> Self {
        Self { side: Side::Amqp(Box::new(AmqpPeer::connect(url).await)) }
    }

    pub(crate) fn in_process(url: &str) -> Self {
        Self { side: Side::Memory(MemoryPeer::new(url)) }
    }

    /// Returns the channel, for operations that are not offered here.
    ///
    /// # Panics
    /// Panics if the broker is in memory.
    pub fn channel(&self) -> &Channel {
        match &self.side {
            Side::Amqp(peer) => peer.channel(),
            Side::Memory(_) => panic!("only RabbitMQ has channels: mark the test `#[celeriac_tests::test(real)]`"),
        }
    }

    /// Publishes a message to a queue.
    pub async fn put(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        match &self.side {
            Side::Amqp(peer) => peer.put(queue, properties, body).await,
            Side::Memory(peer) => peer.put(queue, &properties, body).await,
        }
    }

    /// Replies to a task as a Celery worker with the result backend `rpc://` does.
    ///
    /// # Panics
    /// Panics if the task wants no reply.
    pub async fn reply(&self, task: &Found, body: &[u8]) {
        let (queue, id) = (task.reply_to.as_deref().expect("reply_to"), task.correlation_id.as_deref().expect("an id"));
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_correlation_id(id.into())
            .with_delivery_mode(1)
            .with_priority(0)
            .with_headers(FieldTable::default());
        self.put(queue, properties, body).await;
    }

    /// Declares a queue that is deleted with its last consumer, as Celery's clients do for their
    /// replies.
    pub async fn declare_replies(&self, queue: &str) {
        match &self.side {
            Side::Amqp(peer) => peer.declare_replies(queue).await,
            Side::Memory(peer) => peer.declare(queue).await,
        }
    }

    /// Declares a queue that is durable, without further properties.
    pub async fn declare(&self, queue: &str) {
        match &self.side {
            Side::Amqp(peer) => peer.declare(queue).await,
            Side::Memory(peer) => peer.declare(queue).await,
        }
    }

    /// Returns `true` if there is such a queue.
    pub async fn has_queue(&self, queue: &str) -> bool {
        self.consumers(queue).await.is_some()
    }

    /// Returns the number of consumers of a queue, or `None` if there is no such queue.
    pub async fn consumers(&self, queue: &str) -> Option<u32> {
        match &self.side {
            Side::Amqp(peer) => peer.consumers(queue).await,
            Side::Memory(peer) => peer.consumers(queue).await,
        }
    }

    /// Returns the number of ready messages of a queue.
    ///
    /// # Panics
    /// Panics if there is no such queue.
    pub async fn ready(&self, queue: &str) -> u32 {
        match &self.side {
            Side::Amqp(peer) => peer.ready(queue).await,
            Side::Memory(peer) => peer.ready(queue).await,
        }
    }

    /// Takes all messages of a queue.
    pub async fn take_all(&self, queue: &str) -> Vec<Found> {
        match &self.side {
            Side::Amqp(peer) => peer.take_all(queue).await,
            Side::Memory(peer) => peer.take_all(queue).await,
        }
    }

    /// Takes the first message of a queue and requeues it, which the broker counts as a delivery.
    /// Returns `false` if there was none.
    pub async fn give_back(&self, queue: &str) -> bool {
        match &self.side {
            Side::Amqp(peer) => peer.give_back(queue).await,
            Side::Memory(peer) => peer.give_back(queue).await,
        }
    }

    /// Empties a queue.
    pub async fn purge(&self, queue: &str) {
        match &self.side {
            Side::Amqp(peer) => peer.purge(queue).await,
            Side::Memory(peer) => drop(peer.take_all(queue).await),
        }
    }
}

/// Converts a header value as py-amqp does.
pub fn field(value: &Json) -> AMQPValue {
    match value {
        Json::Null => AMQPValue::Void,
        Json::Bool(flag) => AMQPValue::Boolean(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(number) => i32::try_from(number).map_or(AMQPValue::LongLongInt(number), AMQPValue::LongInt),
            None => AMQPValue::Double(number.as_f64().expect("a number")),
        },
        Json::String(text) => AMQPValue::LongString(text.as_str().into()),
        Json::Array(items) => AMQPValue::FieldArray(FieldArray::from(items.iter().map(field).collect::<Vec<_>>())),
        Json::Object(entries) => {
            let mut table = FieldTable::default();
            for (name, value) in entries {
                table.insert(name.as_str().into(), field(value));
            }
            AMQPValue::FieldTable(table)
        }
    }
}
