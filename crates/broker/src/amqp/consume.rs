//! Consuming: deliveries to whoever runs them, verdicts back to the broker, through lost connections.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use celeriac_telemetry::Occurrence;
use celeriac_telemetry::occurrences::broker::{ConsumerLost, ConsumerRestored};
use futures::{FutureExt, StreamExt};
use lapin::Channel;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::connection::{Connections, Failure};
use super::convert::read_message;
use super::subscription::{Subscribed, Wish, tell};
use crate::broker::{Consumer, Delivery, Origin, Subscription};
use crate::delay::strip_delay_prefix;
use crate::error::Result;
use crate::settle::{Coalescer, Command, Settled, Settlement};

/// Acknowledgements that go together are as good as any more.
const GROUP: usize = 16;

/// How long an acknowledgement may wait for others.
const LINGER: Duration = Duration::from_millis(4);

/// How many deliveries are taken before verdicts get a look again.
const AT_ONCE: usize = 64;

/// How long the broker may take to note a consumer's end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Room for deliveries that nobody has taken yet, where the prefetch is without limit.
const UNLIMITED: u16 = 1024;

/// Subscribes, however long it takes, and starts the task that drives the consumer.
///
/// # Errors
/// When the queue does not exist, or access to it is refused.
pub(super) async fn consume(connections: Arc<Connections>, subscription: &Subscription) -> Result<Consumer> {
    let wish = Wish::new(subscription)?;
    let mut backoff = Backoff::default();
    let subscribed = loop {
        match wish.attempt(&connections).await {
            Ok(subscribed) => break subscribed,
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(_)) => backoff.wait().await,
        }
    };
    Ok(start(connections, wish, subscription, subscribed))
}

fn start(connections: Arc<Connections>, wish: Wish, subscription: &Subscription, first: Subscribed) -> Consumer {
    let queue: Arc<str> = Arc::from(subscription.queue.as_str());
    let room = if subscription.prefetch == 0 { UNLIMITED } else { subscription.prefetch };
    let (out, deliveries) = mpsc::channel(usize::from(room));
    // Bounded by the prefetch, since each delivery is settled once.
    let (verdicts, settled) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let tracker = connections.around().tracker.clone();
    let driver = Driver {
        connections,
        wish,
        queue: Arc::clone(&queue),
        // A group must not be more than a part of what may be delivered, or the broker runs dry while we wait.
        group: usize::from(room / 4).clamp(1, GROUP),
        out: Some(out),
        waiting: VecDeque::new(),
        verdicts: Some(verdicts),
        settled,
        consuming: watch::Sender::new(true),
        stop: stop.clone(),
        coalescer: Coalescer::new(),
        epoch: Arc::new(AtomicU64::new(Coalescer::new().epoch())),
        commands: Vec::new(),
    };
    let consuming = driver.consuming.subscribe();
    Consumer::new(queue, deliveries, consuming, stop, tracker.spawn(driver.run(first)))
}

/// The task of one consumer.
struct Driver {
    connections: Arc<Connections>,
    wish: Wish,
    queue: Arc<str>,
    group: usize,
    /// Where deliveries go, until there are no more.
    out: Option<mpsc::Sender<Delivery>>,
    /// Deliveries for which `out` has no room, as happens when a lost channel's are still in it.
    waiting: VecDeque<Delivery>,
    /// What settlements are made with, until the last has been made.
    verdicts: Option<mpsc::UnboundedSender<Settled>>,
    settled: mpsc::UnboundedReceiver<Settled>,
    consuming: watch::Sender<bool>,
    stop: CancellationToken,
    coalescer: Coalescer,
    /// The coalescer's epoch, for settlements to compare with.
    epoch: Arc<AtomicU64>,
    commands: Vec<Command>,
}

/// How the life of a channel ended.
enum End {
    /// As it should.
    Stopped,
    Lost(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Delivering,
    /// The broker was asked for no more; what is on its way still comes.
    Cancelling,
    /// Everything has arrived; some of it is not settled.
    Settling,
}

impl Driver {
    async fn run(mut self, first: Subscribed) {
        let mut next = Some(first);
        while let Some(Subscribed { channel, stream }) = next.take() {
            self.consuming.send_replace(true);
            let end = self.live(&channel, stream).await;
            self.consuming.send_replace(false);
            if let End::Lost(reason) = end {
                self.epoch.store(self.coalescer.lose(), Ordering::Release);
                self.waiting.clear();
                next = self.resubscribe(&reason).await;
            }
        }
        // Nobody listens to verdicts any more, but whoever closes the consumer waits for the last of them.
        self.no_more();
        let closing = self.connections.around().closing.clone();
        closing.run_until_cancelled(async { while self.settled.recv().await.is_some() {} }).await;
    }

    /// From the first delivery of a channel to its end.
    async fn live(&mut self, channel: &Channel, mut stream: lapin::Consumer) -> End {
        let closing = self.connections.around().closing.clone();
        let mut linger = std::pin::pin!(tokio::time::sleep(LINGER));
        let mut lingering = false;
        let mut phase = Phase::Delivering;
        loop {
            tokio::select! {
                biased;
                settled = self.settled.recv() => match settled {
                    Some(settled) => self.settle(settled),
                    None => break,
                },
                delivery = stream.next(), if self.waiting.is_empty() && phase != Phase::Settling => {
                    match self.accept(delivery, &mut stream) {
                        Ok(()) => {}
                        Err(_) if phase == Phase::Cancelling => {
                            phase = Phase::Settling;
                            self.no_more();
                        }
                        Err(reason) => return End::Lost(reason),
                    }
                }
                room = room(self.out.clone()), if !self.waiting.is_empty() => {
                    match (room, self.waiting.pop_front()) {
                        (Some(room), Some(delivery)) => drop(room.send(delivery)),
                        (None, Some(delivery)) => delivery.settlement.requeue(),
                        (_, None) => {}
                    }
                }
                () = linger.as_mut(), if lingering => self.coalescer.flush(&mut self.commands),
                () = self.stop.cancelled(), if phase == Phase::Delivering => {
                    self.wish.cancel(channel);
                    phase = Phase::Cancelling;
                }
                () = closing.cancelled() => break,
            }
            self.flush_if_due();
            tell(channel, self.commands.drain(..));
            lingering = self.linger(lingering, linger.as_mut());
        }
        self.coalescer.flush(&mut self.commands);
        tell(channel, self.commands.drain(..));
        // Answered after everything before it: the broker has noted every acknowledgement.
        let _ = timeout(GOODBYE, channel.close(200, "stopped".into())).await;
        End::Stopped
    }

    /// Whoever takes deliveries sees their end, and this task sees the end of verdicts when the last is in.
    fn no_more(&mut self) {
        self.out = None;
        self.verdicts = None;
    }

    fn settle(&mut self, first: Settled) {
        self.coalescer.settle(first, &mut self.commands);
        while let Ok(settled) = self.settled.try_recv() {
            self.coalescer.settle(settled, &mut self.commands);
        }
    }

    /// Takes a delivery, and those behind it that are there already. Fails when there will be no more.
    fn accept(
        &mut self,
        first: Option<lapin::Result<lapin::message::Delivery>>,
        stream: &mut lapin::Consumer,
    ) -> Result<(), String> {
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            match next {
                None => break,
                Some(None) => return Err("the broker ended the subscription".to_owned()),
                Some(Some(Err(error))) => return Err(error.to_string()),
                Some(Some(Ok(delivery))) => self.hand_out(delivery),
            }
            if !self.waiting.is_empty() {
                break;
            }
            next = stream.next().now_or_never();
        }
        Ok(())
    }

    fn hand_out(&mut self, delivery: lapin::message::Delivery) {
        let lapin::message::Delivery { delivery_tag, exchange, routing_key, redelivered, properties, data, .. } =
            delivery;
        self.coalescer.delivered(delivery_tag);
        let (Some(verdicts), Some(out)) = (self.verdicts.clone(), &self.out) else { return };
        let epoch = self.coalescer.epoch();
        let settlement = Settlement::new(epoch, delivery_tag, Arc::clone(&self.queue), verdicts);
        let delivery = Delivery {
            message: read_message(&properties, data),
            origin: Origin {
                queue: Arc::clone(&self.queue),
                exchange: exchange.into(),
                routing_key: without_prefix(routing_key.into()),
                redelivered,
            },
            settlement: settlement.void_after(Arc::clone(&self.epoch)),
        };
        match out.try_send(delivery) {
            Ok(()) => {}
            Err(TrySendError::Full(delivery)) => self.waiting.push_back(delivery),
            // Nobody is there any more to take it.
            Err(TrySendError::Closed(delivery)) => delivery.settlement.requeue(),
        }
    }

    /// A full group goes at once; so does whatever there is when nothing is running that could join it.
    fn flush_if_due(&mut self) {
        let waiting = self.coalescer.waiting();
        if waiting >= self.group || (waiting > 0 && self.coalescer.is_finished()) {
            self.coalescer.flush(&mut self.commands);
        }
    }

    /// Starts the clock for the first acknowledgement that waits for others.
    fn linger(&self, lingering: bool, clock: Pin<&mut Sleep>) -> bool {
        let linger = self.coalescer.waiting() > 0;
        if linger && !lingering {
            clock.reset(Instant::now() + LINGER);
        }
        linger
    }

    /// Subscribes again, however long it takes. `None` when the consumer is stopped before.
    async fn resubscribe(&self, reason: &str) -> Option<Subscribed> {
        ConsumerLost { queue: &self.queue, error: reason }.tell();
        let (stop, closing) = (&self.stop, &self.connections.around().closing);
        let since = Instant::now();
        let again = async {
            let mut backoff = Backoff::default();
            loop {
                let error = match self.wish.attempt(&self.connections).await {
                    Ok(subscribed) => return subscribed,
                    Err(Failure::Passing(reason)) => reason,
                    // A queue may be declared again, and access be granted again.
                    Err(Failure::Final(error)) => error.to_string(),
                };
                ConsumerLost { queue: &self.queue, error: &error }.tell();
                backoff.wait().await;
            }
        };
        let subscribed = closing.run_until_cancelled(stop.run_until_cancelled(again)).await.flatten()?;
        ConsumerRestored { queue: &self.queue, after: since.elapsed() }.tell();
        Some(subscribed)
    }
}

/// Waits for room. `None` when nobody takes deliveries any more.
async fn room(out: Option<mpsc::Sender<Delivery>>) -> Option<mpsc::OwnedPermit<Delivery>> {
    out?.reserve_owned().await.ok()
}

/// The routing key that the sender chose, where a delay has put its bits before it.
fn without_prefix(routing_key: String) -> String {
    match strip_delay_prefix(&routing_key) {
        key if key.len() == routing_key.len() => routing_key,
        key => key.to_owned(),
    }
}
