//! RabbitMQ as a bare client sees it.

use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// A bare client: puts anything on a queue, looks into any.
#[derive(Debug)]
pub struct Peer {
    _connection: Connection,
    channel: Channel,
}

/// A message as it stands on a queue.
#[derive(Debug)]
pub struct Found {
    /// Its headers.
    pub headers: FieldTable,
    /// Its body.
    pub body: Vec<u8>,
    /// The queue that awaits replies.
    pub reply_to: Option<String>,
    /// What replies are to say they belong to.
    pub correlation_id: Option<String>,
}

impl Found {
    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.inner().get(name).and_then(|value| value.as_long_string()).map(ToString::to_string)
    }
}

impl Peer {
    /// Connects.
    pub async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        Self { _connection: connection, channel }
    }

    /// The channel, for what is not offered here.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Puts a message on a queue.
    pub async fn put(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        self.channel
            .basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties)
            .await
            .expect("published");
    }

    /// Answers a task as a worker of Celery does, whose result backend is `rpc://`.
    ///
    /// # Panics
    /// When the task wants no reply.
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

    /// How many messages are ready on a queue. `None` when there is no such queue.
    pub async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let state = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await.expect("the queue");
        state.message_count()
    }

    /// Takes everything off a queue.
    pub async fn take_all(&self, queue: &str) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some(message) =
            self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("the queue")
        {
            let properties = &message.delivery.properties;
            found.push(Found {
                headers: properties.headers().clone().unwrap_or_default(),
                body: message.delivery.data.clone(),
                reply_to: properties.reply_to().as_ref().map(ToString::to_string),
                correlation_id: properties.correlation_id().as_ref().map(ToString::to_string),
            });
            self.channel.basic_ack(message.delivery.delivery_tag, BasicAckOptions::default()).await.expect("an ack");
        }
        found
    }

    /// Empties a queue.
    pub async fn purge(&self, queue: &str) {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("the queue");
    }
}
