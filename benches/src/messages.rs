//! The messages and queues that both sides use.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

/// The messages of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages {
    pub(crate) count: usize,
    pub(crate) task: &'static str,
    /// Share of messages whose sender keeps its trace. `None`: the sender has no traces.
    pub(crate) sampled: Option<f64>,
}

impl Messages {
    /// Returns messages of empty tasks.
    pub(crate) fn empty(count: usize) -> Self {
        Self { count, task: TASK, sampled: None }
    }

    fn properties(&self, number: usize) -> BasicProperties {
        let mut headers = headers(self.task);
        if let Some(share) = self.sampled {
            let up_to = |number: usize| (number as f64 * share).floor();
            let flags = if up_to(number + 1) > up_to(number) { "01" } else { "00" };
            let id = uuid::Uuid::now_v7().simple().to_string();
            let parent = format!("00-{id}-{}-{flags}", &id[16..]);
            headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
        }
        with_headers(headers)
    }
}

/// Opens a connection and a channel in confirm mode.
pub(crate) async fn connect(servers: &Servers) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(&servers.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok((connection, channel))
}

/// Returns the properties of an empty task as Celeriac sends it.
pub(crate) fn properties() -> BasicProperties {
    with_headers(headers(TASK))
}

fn headers(task: &'static str) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("task".into(), AMQPValue::LongString(task.into()));
    headers.insert("id".into(), AMQPValue::LongString(uuid::Uuid::now_v7().to_string().into()));
    headers
}

fn with_headers(headers: FieldTable) -> BasicProperties {
    BasicProperties::default()
        .with_headers(headers)
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
}

/// Publishes messages in a window, and waits for every confirm.
pub(crate) async fn publish(channel: &Channel, queue: &str, messages: &Messages) -> Result<()> {
    use futures::stream::{FuturesUnordered, StreamExt};
    let mut unconfirmed = FuturesUnordered::new();
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    for number in 0..messages.count {
        if unconfirmed.len() == WINDOW {
            unconfirmed.next().await.transpose()?;
        }
        let properties = messages.properties(number);
        unconfirmed.push(channel.basic_publish("".into(), queue.into(), options, BODY, properties).await?);
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
