//! The messages and queues that both sides use.

use std::fmt;

use anyhow::Result;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use crate::Servers;

/// Number of messages that are published and not confirmed, on both sides.
pub(crate) const WINDOW: usize = 512;
/// Number of messages that are delivered and not acknowledged, on both sides.
pub(crate) const PREFETCH: u16 = 512;
/// The body of a task without arguments.
pub(crate) const BODY: &[u8] = b"[[],{},{}]";
/// The name of the task.
pub(crate) const TASK: &str = "bench.nothing";

/// The type of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueType {
    Classic,
    Quorum,
}

impl fmt::Display for QueueType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        })
    }
}

/// A queue for one round.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) queue: String,
    pub(crate) kind: QueueType,
}

impl Stage {
    pub(crate) fn new(kind: QueueType) -> Self {
        Self::named(&format!("bench-{}", uuid::Uuid::now_v7()), kind)
    }

    pub(crate) fn named(queue: &str, kind: QueueType) -> Self {
        Self { queue: queue.to_owned(), kind }
    }
}

/// Opens a connection and a channel in confirm mode.
pub(crate) async fn connect(servers: &Servers) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(&servers.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

/// Returns the properties of a message as Celeriac sends it.
pub(crate) fn properties() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("task".into(), AMQPValue::LongString(TASK.into()));
    headers.insert("id".into(), AMQPValue::LongString(uuid::Uuid::now_v7().to_string().into()));
    BasicProperties::default()
        .with_headers(headers)
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
}

/// Publishes messages in a window, and waits for every confirm.
pub(crate) async fn publish(channel: &Channel, queue: &str, count: usize) -> Result<()> {
    use futures::stream::{FuturesUnordered, StreamExt};
    let mut unconfirmed = FuturesUnordered::new();
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    for _ in 0..count {
        if unconfirmed.len() == WINDOW {
            unconfirmed.next().await.transpose()?;
        }
        unconfirmed.push(channel.basic_publish("".into(), queue.into(), options, BODY, properties()).await?);
    }
    while let Some(confirm) = unconfirmed.next().await {
        anyhow::ensure!(confirm?.is_ack(), "a message was refused");
    }
    Ok(())
}

/// Returns the number of messages that wait on a queue.
pub(crate) async fn waiting(channel: &Channel, queue: &str) -> Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count())
}
