//! Reads a queue of RabbitMQ without a change.
//!
//! A browser has one channel, and one consumer at a time on it. The broker delivers a window of
//! messages to each consumer, which limits the memory of this process. After each window the
//! browser cancels the consumer and subscribes the next one. Shown messages that were not removed
//! are kept: they stay delivered and unacknowledged. The browser stores only the last tag of each
//! group of them.
//!
//! At the end the browser returns the groups, the first one first, and the queue restores the
//! order. A quorum queue keeps the order of at most 32 messages that are returned together, so a
//! group has 32.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_config::duration;
use celeriac_topology::strip_delay_prefix;
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueDeclareOptions,
};

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use super::connection::{ANSWER, ChannelProvider};
use super::convert::{read_message, short};
use crate::browse::{Browsed, Browser};
use crate::delivery::DeliveryInfo;
use crate::error::{Error, Result};

/// Largest number of bytes of a window, estimated from the sizes of earlier messages.
const WINDOW: usize = 8 * 1024 * 1024;

/// Number of messages of the first window, before any size is known.
const FIRST: u16 = 32;

/// Most messages in a window. A larger window is no faster.
const MOST: usize = 256;

/// Time without a delivery after which the browser checks if the queue is empty.
const SILENCE: Duration = Duration::from_millis(200);

/// Number of messages that are returned together.
const TOGETHER: usize = 32;

/// Longest wait for returned messages to be ready again.
const RETURN: Duration = Duration::from_secs(2);

/// Pause between two checks for returned messages.
const GLANCE: Duration = Duration::from_millis(5);

/// A browser on RabbitMQ.
pub(super) struct AmqpBrowser {
    channel: Channel,
    queue: Arc<str>,
    /// The broker's URL, without password.
    url: String,
    name: ShortString,
    ready: u64,
    left: u64,
    consumer: Option<Window>,
    /// Number of consumers so far.
    consumers: u32,
    /// Deliveries that arrived after their consumer was cancelled.
    late: VecDeque<lapin::message::Delivery>,
    /// Tag of the message shown last, until it is removed.
    current: Option<u64>,
    /// Number of kept messages.
    kept: u64,
    /// Last tag of each full group of kept messages.
    groups: Vec<u64>,
    /// Number of kept messages after the last full group, and the last tag among them.
    open: Option<(usize, u64)>,
    /// Bytes of the largest body in this window.
    largest: usize,
}

/// A consumer, and the number of its deliveries so far.
struct Window {
    tag: ShortString,
    stream: lapin::Consumer,
    room: u16,
    kept: u16,
}

/// Starts to browse a queue. Waits without a limit; the caller sets the deadline.
///
/// # Errors
/// Returns an error if the queue does not exist, or if access to it is refused.
pub(super) async fn begin(channels: Arc<ChannelProvider>, queue: &str) -> Result<AmqpBrowser> {
    let name = short(queue, "queue")?;
    let channel = channels.open_channel().await?;
    let declared = channel.queue_declare(name.clone(), passive(), FieldTable::default()).await;
    let ready = match declared {
        Ok(state) => u64::from(state.message_count()),
        Err(error) => return Err(refusal(&error, queue, &channels.shown())),
    };
    Ok(AmqpBrowser {
        channel,
        queue: Arc::from(queue),
        url: channels.shown(),
        name,
        ready,
        left: ready,
        consumer: None,
        consumers: 0,
        late: VecDeque::new(),
        current: None,
        kept: 0,
        groups: Vec::new(),
        open: None,
        largest: WINDOW / usize::from(FIRST),
    })
}

fn passive() -> QueueDeclareOptions {
    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() }
}

fn refusal(error: &lapin::Error, queue: &str, url: &str) -> Error {
    if let ErrorKind::ProtocolError(said) = error.kind() {
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => return Error::NoSuchQueue { queue: queue.to_owned() },
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                return Error::Denied { url: url.to_owned(), reason: said.get_message().to_string() };
            }
            _ => {}
        }
    }
    Error::LookLost { queue: queue.to_owned(), reason: error.to_string() }
}

/// Returns the number of messages of this size that fit in a window.
fn room(largest: usize) -> u16 {
    (WINDOW / largest.max(1)).clamp(1, MOST) as u16
}

impl AmqpBrowser {
    async fn show(&mut self) -> Result<Option<Browsed>> {
        self.keep_current();
        if self.left == 0 {
            return Ok(None);
        }
        let Some(delivery) = self.take().await? else {
            self.left = 0;
            return Ok(None);
        };
        self.left -= 1;
        self.current = Some(delivery.delivery_tag);
        self.largest = self.largest.max(delivery.data.len());
        Ok(Some(self.browsed(delivery)))
    }

    fn keep_current(&mut self) {
        let Some(tag) = self.current.take() else { return };
        if let Some(window) = &mut self.consumer {
            window.kept += 1;
        }
        self.kept += 1;
        let behind = self.open.map_or(0, |(behind, _)| behind) + 1;
        self.open = Some((behind, tag));
        if behind == TOGETHER {
            self.end_group();
        }
    }

    fn end_group(&mut self) {
        self.groups.extend(self.open.take().map(|(_, last)| last));
    }

    fn browsed(&self, delivery: lapin::message::Delivery) -> Browsed {
        let lapin::message::Delivery { exchange, routing_key, redelivered, properties, data, .. } = delivery;
        Browsed {
            message: read_message(&properties, data),
            origin: DeliveryInfo {
                queue: Arc::clone(&self.queue),
                exchange: exchange.into(),
                routing_key: strip_delay_prefix(routing_key.as_str()).to_owned(),
                redelivered,
            },
        }
    }

    /// Returns the next delivery, or `None` if the queue is empty.
    async fn take(&mut self) -> Result<Option<lapin::message::Delivery>> {
        if let Some(delivery) = self.late.pop_front() {
            return Ok(Some(delivery));
        }
        let began = Instant::now();
        loop {
            if self.consumer.as_ref().is_none_or(|window| window.kept >= window.room) {
                self.turn().await?;
            }
            let Some(window) = &mut self.consumer else { return Err(self.lost("there is no consumer")) };
            match timeout(SILENCE, window.stream.next()).await {
                Ok(Some(Ok(delivery))) => return Ok(Some(delivery)),
                Ok(Some(Err(error))) => return Err(self.lost(&error)),
                Ok(None) => return Err(self.lost("the broker ended the subscription")),
                Err(_) if self.is_empty().await? => {
                    // Messages that left the queue before this check are being delivered to this
                    // consumer, or are with another consumer.
                    self.cancel().await?;
                    self.left = self.late.len() as u64;
                    return Ok(self.late.pop_front());
                }
                Err(_) if began.elapsed() > ANSWER => {
                    return Err(
                        self.lost("the broker delivers no message: another consumer may have the queue to itself")
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Cancels the consumer, whose window is full, and subscribes the next one.
    async fn turn(&mut self) -> Result<()> {
        self.cancel().await?;
        let room = room(std::mem::take(&mut self.largest));
        let tag: ShortString = format!("browser-{}", self.consumers).into();
        self.consumers += 1;
        self.answered(self.channel.basic_qos(room, BasicQosOptions { global: false })).await?;
        let consume = self.channel.basic_consume(
            self.name.clone(),
            tag.clone(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let stream = self.answered(consume).await?;
        self.consumer = Some(Window { tag, stream, room, kept: 0 });
        Ok(())
    }

    /// Cancels the consumer. The kept messages of its window stay kept.
    async fn cancel(&mut self) -> Result<()> {
        let Some(mut window) = self.consumer.take() else { return Ok(()) };
        // The order could change in a group with messages of two consumers.
        self.end_group();
        self.answered(self.channel.basic_cancel(window.tag.clone(), BasicCancelOptions::default())).await?;
        // The broker answers the cancellation after the last delivery.
        while let Some(delivery) = self.answered(async { window.stream.next().await.transpose() }).await? {
            self.late.push_back(delivery);
        }
        Ok(())
    }

    async fn is_empty(&self) -> Result<bool> {
        Ok(self.look().await?.message_count() == 0)
    }

    async fn look(&self) -> Result<lapin::Queue> {
        self.answered(self.channel.queue_declare(self.name.clone(), passive(), FieldTable::default())).await
    }

    async fn give_back(mut self) -> Result<()> {
        self.keep_current();
        self.cancel().await?;
        self.end_group();
        let late: Vec<_> = self.late.iter().map(|delivery| delivery.delivery_tag).collect();
        self.groups.extend(late.chunks(TOGETHER).filter_map(|group| group.last()));
        let requeue = BasicNackOptions { multiple: true, requeue: true };
        for last in &self.groups {
            self.answered(self.channel.basic_nack(*last, requeue)).await?;
        }
        self.see_returned(self.kept + late.len() as u64).await?;
        self.answered(self.channel.close(200, "seen".into())).await
    }

    /// Waits until `count` messages are ready.
    /// A quorum queue does not confirm returned messages. Other consumers of the queue may take
    /// them before they are counted, so the wait has a limit. The number of consumers cannot tell:
    /// it is reported too late.
    async fn see_returned(&self, count: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let ready = u64::from(self.look().await?.message_count());
            if ready >= count || began.elapsed() > RETURN {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
    }

    async fn answered<T>(&self, asked: impl Future<Output = lapin::Result<T>>) -> Result<T> {
        match timeout(ANSWER, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            // The right to read is asked for by the first consumer.
            Ok(Err(error)) => Err(refusal(&error, &self.queue, &self.url)),
            Err(_) => Err(self.lost(&format!("no answer within {}", duration::approximate(ANSWER)))),
        }
    }

    fn lost(&self, reason: &(impl ToString + ?Sized)) -> Error {
        Error::LookLost { queue: self.queue.to_string(), reason: reason.to_string() }
    }
}

impl Browser for AmqpBrowser {
    fn ready(&self) -> u64 {
        self.ready
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Browsed>>> {
        self.show().boxed()
    }

    fn remove(&mut self) {
        if let Some(tag) = self.current.take() {
            // The first poll of the future writes the frame to the connection's buffer, in order.
            let _ = self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).now_or_never();
        }
    }

    fn removed(&mut self) -> BoxFuture<'_, Result<()>> {
        // RabbitMQ does not answer an acknowledgement, but it processes the frames of a channel in
        // order. Its answer to this request shows that it has processed the earlier frames.
        let room = self.consumer.as_ref().map_or(FIRST, |window| window.room);
        let answer = self.channel.basic_qos(room, BasicQosOptions { global: false });
        async { self.answered(answer).await }.boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.give_back().boxed()
    }
}

impl Drop for AmqpBrowser {
    fn drop(&mut self) {
        // The broker requeues unsettled messages when their channel closes.
        if self.channel.status().connected() {
            let _ = self.channel.close(200, "dropped".into()).now_or_never();
        }
    }
}

impl fmt::Debug for AmqpBrowser {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AmqpBrowser").field("queue", &self.queue).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_fewer_messages_the_larger_they_are() {
        let cases = [(0, 256), (1_000, 256), (WINDOW / 100, 100), (WINDOW / 3, 3), (WINDOW, 1), (usize::MAX, 1)];
        for (largest, messages) in cases {
            assert_eq!(room(largest), messages, "{largest}");
        }
    }
}
