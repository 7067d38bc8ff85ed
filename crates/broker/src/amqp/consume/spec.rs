//! A consumer's place at the broker: a channel with its own prefetch, and the stream of what it delivers.

use futures::FutureExt;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ErrorKind};
use tokio::time::timeout;

use crate::amqp::connection::{ANSWER, ChannelProvider, ConnectFailure};
use crate::amqp::convert::short;
use crate::amqp::declare::{Inequivalent, reply_queue, table};
use crate::amqp::error::client_error;
use crate::broker::Subscription;
use crate::error::{Error, Result};

/// Who sees to it that the queue exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueOwner {
    /// Somebody else, before.
    Others,
    /// The consumer: it declares the queue whenever it subscribes, and deletes it when it stops.
    Consumer,
}

/// What a consumer asks for, as AMQP has it.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerSpec {
    owner: QueueOwner,
    queue: ShortString,
    /// The consumer's tag until it is changed.
    tag: ShortString,
    pub(crate) prefetch: u16,
    /// How often the consumer was made anew on its channel: each time with another tag.
    changes: u32,
}

/// A subscription that stands.
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
            changes: 0,
        })
    }

    /// One attempt to subscribe.
    pub(crate) async fn attempt(&self, channels: &ChannelProvider) -> Result<ActiveConsumer, ConnectFailure> {
        let channel = channels.try_open_channel().await?;
        let subscribed = timeout(ANSWER, self.subscribe(channel)).await;
        let subscribed = subscribed.map_err(|_| ConnectFailure::Transient(format!("no answer within {ANSWER:?}")))?;
        subscribed.map_err(|error| self.failure(&error, channels))
    }

    async fn subscribe(&self, channel: Channel) -> Result<ActiveConsumer, lapin::Error> {
        if self.owner == QueueOwner::Consumer {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(self.queue.clone(), options, table(&reply_queue())).await?;
        }
        let stream = self.consume(&channel).await?;
        Ok(ActiveConsumer { channel, stream })
    }

    /// Consumes with the prefetch that is wished for now. RabbitMQ gives a prefetch to consumers that begin after it.
    async fn consume(&self, channel: &Channel) -> Result<lapin::Consumer, lapin::Error> {
        channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
        let (queue, tag) = (self.queue.clone(), self.tag());
        channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default()).await
    }

    /// Consumes anew on a channel where it has been cancelled. What that delivered stays valid.
    pub(crate) async fn consume_anew(self, channel: Channel) -> Result<lapin::Consumer, String> {
        let consumed = timeout(ANSWER, self.consume(&channel)).await;
        consumed.map_err(|_| format!("no answer within {ANSWER:?}"))?.map_err(|error| error.to_string())
    }

    /// Wishes for another prefetch, and so for another consumer: it gets another tag.
    pub(crate) fn change(&mut self, prefetch: u16) {
        self.prefetch = prefetch;
        self.changes += 1;
    }

    /// The tag after so many changes, where that is not too long for AMQP; the first is free again once it is cancelled.
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
                // The queue of a node that is down is not found either, but comes back.
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) if reason.as_str().contains("no queue") => {
                    return ConnectFailure::Permanent(Error::NoSuchQueue { queue: self.queue.to_string() });
                }
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    let reason = reason.to_string();
                    return ConnectFailure::Permanent(Error::Denied { url: channels.shown(), reason });
                }
                // The name is somebody else's.
                AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if self.owner == QueueOwner::Consumer => {
                    let differs = Inequivalent::read(reason.as_str()).map(|differs| differs.into_error(None));
                    let other = || client_error(&format!("declaring queue `{}`", self.queue), error.clone());
                    return ConnectFailure::Permanent(differs.unwrap_or_else(other));
                }
                _ => {}
            }
        }
        ConnectFailure::Transient(error.to_string())
    }

    /// The end of a channel that was told everything. When it is answered, the broker has noted every acknowledgement.
    pub(crate) async fn close(&self, channel: &Channel) {
        if self.owner == QueueOwner::Consumer {
            // A queue that stays nevertheless expires.
            let _ = channel.queue_delete(self.queue.clone(), QueueDeleteOptions::default()).await;
        }
        let _ = channel.close(200, "stopped".into()).await;
    }

    /// Asks for no more. The stream ends when the broker has taken note; should it not, its heartbeat is missed.
    pub(crate) fn cancel(&self, channel: &Channel) {
        let _ = channel.basic_cancel(self.tag(), BasicCancelOptions::default()).now_or_never();
    }
}
