//! A subscription: a channel with its own prefetch, and the stream of its deliveries.

use std::sync::Arc;

use celeriac_config::duration;
use futures::FutureExt;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind};
use tokio::time::timeout;

use crate::amqp::connection::{ANSWER, ChannelProvider, ConnectFailure};
use crate::amqp::convert::short;
use crate::amqp::declare::{Inequivalent, declare_transient, reply_queue, table};
use crate::amqp::error::client_error;
use crate::broker::{Subscription, TransientQueue};
use crate::error::{Error, Result};

/// The owner of a queue, which declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QueueOwner {
    /// Another part of the program, or another program. The queue exists already.
    Others,
    /// The consumer. It declares the queue at each subscription, and deletes it when it stops.
    Consumer,
    /// The connection. The consumer declares the queue at each subscription, and the broker deletes
    /// it with the consumer.
    Connection(Arc<TransientQueue>),
}

/// The settings of a consumer, in AMQP's terms.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerSpec {
    owner: QueueOwner,
    queue: ShortString,
    /// The consumer's tag before its first change.
    tag: ShortString,
    pub(crate) prefetch: u16,
    priority: i32,
    /// Number of times that the consumer was replaced on its channel, each time under another tag.
    changes: u32,
}

/// An open subscription.
pub(crate) struct ActiveConsumer {
    pub(crate) channel: Channel,
    pub(crate) stream: lapin::Consumer,
}

impl ConsumerSpec {
    pub(crate) fn new(subscription: &Subscription, owner: QueueOwner) -> Result<Self> {
        Ok(Self {
            owner,
            queue: short(&subscription.queue, "queue")?,
            tag: short(&subscription.tag, "consumer tag")?,
            prefetch: subscription.prefetch,
            priority: subscription.priority,
            changes: 0,
        })
    }

    /// Attempts once to subscribe.
    pub(crate) async fn attempt(&self, channels: &ChannelProvider) -> Result<ActiveConsumer, ConnectFailure> {
        let channel = channels.try_open_channel().await?;
        let subscribed = timeout(ANSWER, self.subscribe(channel)).await;
        let subscribed = subscribed
            .map_err(|_| ConnectFailure::Transient(format!("no answer within {}", duration::approximate(ANSWER))))?;
        subscribed.map_err(|error| self.failure(&error, channels))
    }

    async fn subscribe(&self, channel: Channel) -> Result<ActiveConsumer, lapin::Error> {
        match &self.owner {
            QueueOwner::Others => {}
            QueueOwner::Consumer => {
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(self.queue.clone(), options, table(&reply_queue())).await?;
            }
            QueueOwner::Connection(queue) => declare_transient(&channel, queue).await?,
        }
        let stream = self.consume(&channel).await?;
        Ok(ActiveConsumer { channel, stream })
    }

    /// Consumes with the present prefetch. RabbitMQ applies a prefetch to consumers that start
    /// after it.
    async fn consume(&self, channel: &Channel) -> Result<lapin::Consumer, lapin::Error> {
        channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
        let (queue, tag) = (self.queue.clone(), self.tag());
        let mut arguments = FieldTable::default();
        if self.priority != 0 {
            arguments.insert("x-priority".into(), AMQPValue::LongInt(self.priority));
        }
        channel.basic_consume(queue, tag, BasicConsumeOptions::default(), arguments).await
    }

    /// Consumes again on a channel after the last consumer was cancelled. The deliveries of that
    /// consumer stay valid.
    pub(crate) async fn consume_anew(self, channel: Channel) -> Result<lapin::Consumer, String> {
        let consumed = timeout(ANSWER, self.consume(&channel)).await;
        consumed
            .map_err(|_| format!("no answer within {}", duration::approximate(ANSWER)))?
            .map_err(|error| error.to_string())
    }

    /// Sets the prefetch of the next consumer, which gets another tag.
    pub(crate) fn change(&mut self, prefetch: u16) {
        self.prefetch = prefetch;
        self.changes += 1;
    }

    /// Returns the tag after this number of changes.
    ///
    /// If that tag is too long for AMQP, the first tag is used again. It is free once its consumer
    /// is cancelled.
    fn tag(&self) -> ShortString {
        match self.changes {
            0 => self.tag.clone(),
            changes => ShortString::try_new(format!("{}~{changes}", self.tag)).unwrap_or_else(|_| self.tag.clone()),
        }
    }

    fn failure(&self, error: &lapin::Error, channels: &ChannelProvider) -> ConnectFailure {
        if let ErrorKind::ProtocolError(said) = error.kind() {
            let reason = said.get_message();
            match said.kind() {
                // RabbitMQ also replies "not found" for a queue whose node is down. That queue
                // returns.
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if reason.as_str().contains("no queue") => {
                    return ConnectFailure::Permanent(Error::NoSuchQueue { queue: self.queue.to_string() });
                }
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    let reason = reason.to_string();
                    return ConnectFailure::Permanent(Error::Denied { url: channels.shown(), reason });
                }
                AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => {
                    return ConnectFailure::Permanent(Error::QueueLocked { queue: self.queue.to_string() });
                }
                // Another object has the name already.
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if self.owner != QueueOwner::Others => {
                    let differs = Inequivalent::read(reason.as_str()).map(|differs| differs.into_error(None));
                    let other = || client_error(&format!("declaring queue `{}`", self.queue), error.clone());
                    return ConnectFailure::Permanent(differs.unwrap_or_else(other));
                }
                _ => {}
            }
        }
        ConnectFailure::Transient(error.to_string())
    }

    /// Closes the channel after the last settlement. The broker answers after it has processed
    /// every acknowledgement.
    pub(crate) async fn close(&self, channel: &Channel) {
        if self.owner == QueueOwner::Consumer {
            // A queue that is not deleted here expires.
            let _ = channel.queue_delete(self.queue.clone(), QueueDeleteOptions::default()).await;
        }
        let _ = channel.close(200, "stopped".into()).await;
    }

    /// Cancels the consumer. The stream ends when the broker answers. If it never does, the
    /// heartbeat ends the connection.
    pub(crate) fn cancel(&self, channel: &Channel) {
        let _ = channel.basic_cancel(self.tag(), BasicCancelOptions::default()).now_or_never();
    }
}
