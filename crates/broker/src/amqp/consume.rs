//! Consumes a queue: passes on deliveries and settles them, across lost connections.
//!
//! - `spec`: the settings of a consumer, and its subscription;
//! - `settlements`: the settlements, in groups; `acks`: the same as AMQP frames.

mod acks;
mod settlements;
mod spec;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::{ConsumerLost, ConsumerRestored};
use celeriac_topology::strip_delay_prefix;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use futures::{FutureExt, Stream, StreamExt};
use lapin::Channel;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::settlements::Settlements;
use self::spec::{ActiveConsumer, ConsumerSpec};
use super::connection::{ChannelProvider, ConnectFailure, LogThrottle, ReconnectBackoff};
use super::convert::read_message;
use crate::broker::{Consumer, Subscription};
use crate::delivery::{Delivery, DeliveryInfo};
use crate::error::Result;

pub(super) use self::spec::QueueOwner;

/// Number of deliveries that are accepted before settlements are processed again.
const AT_ONCE: usize = 64;

/// Longest wait for the broker's confirmation that a consumer has ended.
const GOODBYE: Duration = Duration::from_secs(5);

/// Shortest time between two subscriptions.
///
/// Some faults close every channel soon, such as a message that the client library cannot read.
/// Without this time the driver would subscribe in a tight loop.
const PACE: Duration = Duration::from_secs(1);

/// Capacity of the channel to the consumer, if the prefetch is unlimited.
const UNLIMITED: u16 = 1024;

/// Subscribes, without a time limit, and starts the task that drives the consumer.
///
/// # Errors
/// Returns an error if the queue does not exist, or if access to it is refused.
pub(super) async fn consume(
    channels: Arc<ChannelProvider>,
    subscription: &Subscription,
    owner: QueueOwner,
) -> Result<Consumer> {
    let spec = ConsumerSpec::new(subscription, owner)?;
    let mut backoff = ReconnectBackoff::default();
    let subscribed = loop {
        match spec.attempt(&channels).await {
            Ok(subscribed) => break subscribed,
            Err(ConnectFailure::Permanent(error)) => return Err(error),
            Err(ConnectFailure::Transient(_)) => backoff.wait().await,
        }
    };
    let context = channels.context().clone();
    let wanted = watch::Sender::new(subscription.prefetch);
    let (driver, deliveries) = Driver::new(channels, spec, subscription, wanted.subscribe());
    let (queue, consuming, stop) = (Arc::clone(&driver.queue), driver.consuming.subscribe(), driver.stop.clone());
    let driven = context.services.watch(&format!("subscription to queue `{queue}`"), driver.run(subscribed));
    Ok(Consumer::new(queue, deliveries, wanted, consuming, stop, context.tracker.spawn(driven.map(drop))))
}

/// The task of one consumer.
struct Driver {
    channels: Arc<ChannelProvider>,
    spec: ConsumerSpec,
    /// The prefetch that the owner of the consumer requests.
    wanted: watch::Receiver<u16>,
    queue: Arc<str>,
    /// Channel for deliveries, until no more will arrive.
    out: Option<mpsc::Sender<Delivery>>,
    /// Deliveries for which `out` had no room. That happens while it still has those of a lost
    /// channel.
    waiting: VecDeque<Delivery>,
    settlements: Settlements,
    consuming: watch::Sender<bool>,
    stop: CancellationToken,
}

type Arrived = lapin::Result<lapin::message::Delivery>;

/// An item of the stream of deliveries, or `None` at its end.
type NextArrived = Option<Arrived>;

/// A pending new subscription on the same channel, or none.
type Anew = Fuse<BoxFuture<'static, Result<lapin::Consumer, String>>>;

/// The reason why a channel is no longer used.
enum End {
    /// The consumer was stopped.
    Stopped,
    Lost(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Delivering,
    /// The consumer is cancelled and will subscribe with another prefetch. Deliveries may still
    /// arrive.
    Changing,
    /// The new subscription is pending.
    Beginning,
    /// The consumer is cancelled. Deliveries may still arrive.
    Cancelling,
    /// Every delivery has arrived, and some are unsettled.
    Settling,
}

impl Phase {
    /// Returns `true` if deliveries can arrive.
    fn has_stream(self) -> bool {
        matches!(self, Self::Delivering | Self::Changing | Self::Cancelling)
    }

    /// Returns `true` if the consumer can change its prefetch or stop now.
    fn may_change(self) -> bool {
        matches!(self, Self::Delivering | Self::Changing)
    }
}

impl Driver {
    fn new(
        channels: Arc<ChannelProvider>,
        spec: ConsumerSpec,
        subscription: &Subscription,
        wanted: watch::Receiver<u16>,
    ) -> (Self, mpsc::Receiver<Delivery>) {
        let room = room_of(subscription.prefetch);
        // After a higher prefetch, the old consumer's deliveries need capacity too.
        let (out, deliveries) = mpsc::channel(usize::from(room.max(subscription.most.saturating_mul(2))));
        let driver = Self {
            channels,
            spec,
            wanted,
            queue: Arc::from(subscription.queue.as_str()),
            out: Some(out),
            waiting: VecDeque::new(),
            settlements: Settlements::new(room),
            consuming: watch::Sender::new(true),
            stop: CancellationToken::new(),
        };
        (driver, deliveries)
    }

    async fn run(mut self, first: ActiveConsumer) {
        let mut next = Some(first);
        while let Some(ActiveConsumer { channel, stream }) = next.take() {
            let began = Instant::now();
            self.consuming.send_replace(true);
            let end = self.live(&channel, stream).await;
            self.consuming.send_replace(false);
            if let End::Lost(reason) = end {
                self.lose();
                next = self.resubscribe(&reason, began + PACE).await;
            }
        }
        // Settlements have no effect now, but closing the consumer waits for the last one.
        self.no_more();
        let closing = self.channels.context().closing.clone();
        closing.run_until_cancelled(self.settlements.drop_all()).await;
    }

    /// Runs from the first delivery of a channel to its end.
    async fn live(&mut self, channel: &Channel, mut stream: lapin::Consumer) -> End {
        let closing = self.channels.context().closing.clone();
        let mut linger = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut lingering = false;
        let mut phase = Phase::Delivering;
        // The subscription that replaces the cancelled one after a change of prefetch.
        let mut anew: Anew = Fuse::terminated();
        loop {
            let flows = self.waiting.is_empty() && phase.has_stream();
            tokio::select! {
                biased;
                settled = self.settlements.next() => match settled {
                    Some(settled) => self.settlements.settle(settled),
                    None => break,
                },
                consumed = &mut anew, if !anew.is_terminated() => match consumed {
                    Ok(consumed) => (stream, phase) = (consumed, Phase::Delivering),
                    Err(reason) => return End::Lost(reason),
                },
                delivery = stream.next(), if flows => if let Err(reason) = self.accept(delivery, &mut stream) {
                    match phase {
                        Phase::Changing => {
                            anew = self.spec.clone().consume_anew(channel.clone()).boxed().fuse();
                            phase = Phase::Beginning;
                        }
                        Phase::Cancelling => phase = self.no_more(),
                        _ => return End::Lost(reason),
                    }
                },
                // The request is read below. A dropped consumer makes no further requests.
                _ = self.wanted.changed(), if phase.may_change() && self.wanted.has_changed().is_ok() => {}
                room = room(self.out.clone()), if !self.waiting.is_empty() => {
                    match (room, self.waiting.pop_front()) {
                        (Some(room), Some(delivery)) => drop(room.send(delivery)),
                        (None, Some(delivery)) => delivery.settlement.requeue(),
                        (_, None) => {}
                    }
                }
                () = linger.as_mut(), if lingering => self.settlements.flush(),
                () = self.stop.cancelled(), if phase.may_change() => {
                    if phase == Phase::Delivering {
                        self.spec.cancel(channel);
                    }
                    phase = Phase::Cancelling;
                }
                () = closing.cancelled() => break,
            }
            // This precedes requeues. Otherwise the broker would deliver those messages to this
            // consumer again.
            phase = self.follow_wanted(phase, channel);
            self.settlements.flush_if_due();
            self.settlements.send(channel);
            lingering = self.settlements.linger(lingering, linger.as_mut());
        }
        self.settlements.flush();
        self.settlements.send(channel);
        let _ = timeout(GOODBYE, self.spec.close(channel)).await;
        End::Stopped
    }

    /// Returns `true` if the requested prefetch differs from that of the subscription.
    fn wants_change(&self) -> bool {
        *self.wanted.borrow() != self.spec.prefetch
    }

    /// Starts to change the prefetch if another one is requested.
    fn follow_wanted(&mut self, phase: Phase, channel: &Channel) -> Phase {
        if !phase.may_change() || !self.wants_change() {
            return phase;
        }
        if phase == Phase::Delivering {
            self.spec.cancel(channel);
        }
        self.change();
        if phase == Phase::Delivering { Phase::Changing } else { phase }
    }

    fn change(&mut self) {
        let prefetch = *self.wanted.borrow();
        self.spec.change(prefetch);
        self.settlements.group_within(room_of(prefetch));
    }

    /// Ends the stream of deliveries. This task then learns of the last settlement.
    fn no_more(&mut self) -> Phase {
        self.out = None;
        self.settlements.no_more();
        Phase::Settling
    }

    /// Starts a new epoch. The broker requeues all unsettled deliveries.
    fn lose(&mut self) {
        self.settlements.lose();
        self.waiting.clear();
        if self.wants_change() {
            self.change();
        }
    }

    /// Accepts a delivery, and those after it that have arrived. Returns an error at the end of the
    /// stream.
    fn accept(&mut self, first: NextArrived, stream: &mut (impl Stream<Item = Arrived> + Unpin)) -> Result<(), String> {
        let mut next = first;
        for left in (0..AT_ONCE).rev() {
            match next {
                None => return Err("the broker ended the subscription".to_owned()),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(delivery)) => self.hand_out(delivery),
            }
            if left == 0 || !self.waiting.is_empty() {
                break;
            }
            match stream.next().now_or_never() {
                Some(arrival) => next = arrival,
                None => break,
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, delivery: lapin::message::Delivery) {
        let lapin::message::Delivery { delivery_tag, exchange, routing_key, redelivered, properties, data, .. } =
            delivery;
        let settlement = self.settlements.of_delivery(delivery_tag, &self.queue);
        let (Some(settlement), Some(out)) = (settlement, &self.out) else { return };
        let delivery = Delivery {
            message: read_message(&properties, data),
            origin: DeliveryInfo {
                queue: Arc::clone(&self.queue),
                exchange: exchange.into(),
                routing_key: without_prefix(routing_key.into()),
                redelivered,
            },
            settlement,
        };
        match out.try_send(delivery) {
            Ok(()) => {}
            Err(TrySendError::Full(delivery)) => self.waiting.push_back(delivery),
            // The consumer was dropped.
            Err(TrySendError::Closed(delivery)) => delivery.settlement.requeue(),
        }
    }

    /// Subscribes again, not before `earliest`, without a time limit. Returns `None` if the
    /// consumer is stopped first.
    async fn resubscribe(&self, reason: &str, earliest: Instant) -> Option<ActiveConsumer> {
        ConsumerLost { queue: &self.queue, error: reason }.emit();
        let (stop, closing) = (&self.stop, &self.channels.context().closing);
        let since = Instant::now();
        let mut told = LogThrottle::default();
        told.should_log(reason, since.into_std());
        let again = async {
            sleep_until(earliest).await;
            let mut backoff = ReconnectBackoff::default();
            loop {
                let error = match self.spec.attempt(&self.channels).await {
                    Ok(subscribed) => return subscribed,
                    Err(ConnectFailure::Transient(reason)) => reason,
                    // The queue may be declared again later, and access may be granted again.
                    Err(ConnectFailure::Permanent(error)) => error.to_string(),
                };
                if told.should_log(&error, Instant::now().into_std()) {
                    ConsumerLost { queue: &self.queue, error: &error }.emit();
                }
                backoff.wait().await;
            }
        };
        let subscribed = closing.run_until_cancelled(stop.run_until_cancelled(again)).await.flatten()?;
        ConsumerRestored { queue: &self.queue, after: since.elapsed() }.emit();
        Some(subscribed)
    }
}

/// Returns the largest number of unsettled deliveries.
fn room_of(prefetch: u16) -> u16 {
    if prefetch == 0 { UNLIMITED } else { prefetch }
}

/// Waits for capacity. Returns `None` if the consumer was dropped.
async fn room(out: Option<mpsc::Sender<Delivery>>) -> Option<mpsc::OwnedPermit<Delivery>> {
    out?.reserve_owned().await.ok()
}

/// Returns the sender's routing key, without the bits that a delay puts before it.
fn without_prefix(routing_key: String) -> String {
    match strip_delay_prefix(&routing_key) {
        key if key.len() == routing_key.len() => routing_key,
        key => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;
    use lapin::message::Delivery as Arriving;

    use super::super::connection::{ConnectionContext, ConnectionOrigin, ConnectionPurpose};
    use super::*;
    use crate::options::BrokerOptions;
    use crate::settle::{Command, SettlementKind};

    /// Returns a driver without a channel, and the receiver of its deliveries.
    fn driver(prefetch: u16) -> (Driver, mpsc::Receiver<Delivery>) {
        let options = BrokerOptions { url: Secret::new("amqp://localhost"), ..BrokerOptions::default() };
        let context = ConnectionContext::new(options.connect_timeout);
        let origin = ConnectionOrigin::nodes(&options, "test").unwrap();
        let subscription =
            Subscription { queue: "mail".to_owned(), prefetch, most: 0, priority: 0, tag: "t".to_owned() };
        let channels = Arc::new(ChannelProvider::new(ConnectionPurpose::Consume, context, origin));
        let spec = ConsumerSpec::new(&subscription, QueueOwner::Others).unwrap();
        Driver::new(channels, spec, &subscription, watch::channel(prefetch).1)
    }

    fn arriving(tags: std::ops::RangeInclusive<u64>) -> impl Stream<Item = Arrived> + Unpin {
        let delivery = |tag| Ok(Arriving::mock(tag, "".into(), "mail".into(), false, tag.to_string().into_bytes()));
        futures::stream::iter(tags.map(delivery))
    }

    #[tokio::test]
    async fn no_delivery_is_overlooked_when_many_arrive_at_once() {
        let (mut driver, mut deliveries) = driver(300);
        let mut stream = arriving(1..=300);
        let mut rounds = 0;
        loop {
            let first = stream.next().await;
            if driver.accept(first, &mut stream).is_err() {
                break;
            }
            rounds += 1;
        }
        assert!(rounds >= 300 / AT_ONCE);
        for tag in 1..=300_u64 {
            let delivery = deliveries.try_recv().unwrap();
            assert_eq!(delivery.message.body, tag.to_string());
            delivery.settlement.ack();
        }
        while let Some(settled) = driver.settlements.try_next() {
            driver.settlements.settle(settled);
        }
        driver.settlements.flush_if_due();
        assert_eq!(driver.settlements.commands(), [Command::Ack { tag: 300, multiple: true }]);
    }

    #[tokio::test]
    async fn deliveries_without_room_wait_and_those_of_a_lost_channel_are_void() {
        let (mut driver, mut deliveries) = driver(2);
        let mut stream = arriving(1..=3);
        for _ in 0..2 {
            let first = stream.next().await;
            let _ = driver.accept(first, &mut stream);
        }
        assert_eq!(driver.waiting.len(), 1);
        driver.lose();
        assert!(driver.waiting.is_empty());
        let old = deliveries.try_recv().unwrap();
        assert!(old.settlement.is_void());
        old.settlement.ack();
        let settled = driver.settlements.try_next().unwrap();
        assert_eq!((settled.epoch, settled.tag, settled.verdict), (0, 3, SettlementKind::Requeue));
        driver.settlements.settle(settled);
        driver.settlements.flush_if_due();
        assert_eq!(driver.settlements.commands(), []);
    }

    #[tokio::test]
    async fn what_nobody_takes_goes_back() {
        let (mut driver, deliveries) = driver(2);
        drop(deliveries);
        let mut stream = arriving(1..=1).chain(futures::stream::pending());
        let first = stream.next().await;
        assert_eq!(driver.accept(first, &mut stream), Ok(()));
        let settled = driver.settlements.try_next().unwrap();
        driver.settlements.settle(settled);
        assert_eq!(driver.settlements.commands(), [Command::Requeue { tag: 1 }]);
        assert_eq!(driver.accept(None, &mut stream), Err("the broker ended the subscription".to_owned()));
    }
}
