//! A bare client of RabbitMQ.

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::peer::Found;

#[derive(Debug)]
pub(super) struct AmqpPeer {
    connection: Connection,
    channel: Channel,
}

impl AmqpPeer {
    pub(super) async fn connect(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        Self { connection, channel }
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) async fn put(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        self.channel
            .basic_publish("".into(), queue.into(), BasicPublishOptions::default(), body, properties)
            .await
            .expect("published");
    }

    pub(super) async fn declare_replies(&self, queue: &str) {
        // As Celery declares it, but not exclusive, because then only its owner could use it.
        let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("the queue");
    }

    pub(super) async fn declare(&self, queue: &str) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("the queue");
    }

    pub(super) async fn consumers(&self, queue: &str) -> Option<u32> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // The answer that there is no such queue ends its channel.
        let channel = self.connection.create_channel().await.expect("a channel");
        let state = channel.queue_declare(queue.into(), passive, FieldTable::default()).await.ok()?;
        channel.close(200, "seen".into()).await.expect("its end");
        Some(state.consumer_count())
    }

    pub(super) async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let state = self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await.expect("the queue");
        state.message_count()
    }

    pub(super) async fn take_all(&self, queue: &str) -> Vec<Found> {
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

    pub(super) async fn give_back(&self, queue: &str) -> bool {
        let taken = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("the queue");
        let Some(taken) = taken else { return false };
        let back = BasicNackOptions { requeue: true, multiple: false };
        self.channel.basic_nack(taken.delivery.delivery_tag, back).await.expect("a nack");
        true
    }

    pub(super) async fn purge(&self, queue: &str) {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("the queue");
    }
}
