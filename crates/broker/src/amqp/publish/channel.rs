//! A channel in confirm mode that many senders share, and the slot that replaces it.
//!
//! A sender writes its message to the channel itself. A task of the channel reads the broker's
//! replies, and sends each sender the outcome of its message.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use lapin::Channel;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::confirms::{ConfirmFuture, PendingConfirm, PendingConfirms, PendingPublish, PublishOutcome};
use crate::amqp::connection::{ANSWER, ConnectionContext, answer_while};
use crate::amqp::convert::Envelope;
use crate::error::Result;

/// A handle for publishing on a channel. The channel closes when the last handle is dropped and
/// every message has its outcome.
pub(super) struct ConfirmChannel(Arc<SharedChannel>);

struct SharedChannel {
    channel: Arc<Channel>,
    /// `None` when the channel has ended.
    pending: Mutex<Option<PendingConfirms>>,
    ready: Arc<Ready>,
    unused: AtomicBool,
    opened: Instant,
}

impl fmt::Debug for ConfirmChannel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ConfirmChannel").field("channel", &self.0.channel.id()).finish_non_exhaustive()
    }
}

impl ConfirmChannel {
    /// Puts a channel in confirm mode.
    ///
    /// # Errors
    /// Returns an error if the channel cannot be put in confirm mode.
    pub(super) async fn open(channel: Channel, context: &ConnectionContext) -> Result<Self, lapin::Error> {
        let stands = || channel.status().connected();
        answer_while(stands, ANSWER, channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let shared = Arc::new(SharedChannel {
            channel: Arc::new(channel),
            pending: Mutex::new(Some(PendingConfirms::default())),
            ready: Arc::default(),
            unused: AtomicBool::new(false),
            opened: Instant::now(),
        });
        let (task, closing, services) = (Arc::clone(&shared), context.closing.clone(), context.services.clone());
        context.tracker.spawn(async move {
            services.watch("publisher confirms", closing.run_until_cancelled(task.run())).await;
            // This also happens when this program closes the broker, or after a panic. The senders
            // then learn that no outcome will come.
            drop(task.lock().take());
        });
        Ok(Self(shared))
    }

    /// Publishes a message and returns the receiver of its outcome. Returns the message instead if
    /// the channel has ended.
    pub(super) fn send(
        &self,
        envelope: Envelope,
        message: PendingPublish,
    ) -> Result<oneshot::Receiver<PublishOutcome>, PendingPublish> {
        let shared = &*self.0;
        let attempt = attempt(Arc::clone(&shared.channel), envelope, message.outgoing.message.body.clone());
        let mut pending = shared.lock();
        let Some(pending) = pending.as_mut() else { return Err(message) };
        let (answer, outcome) = oneshot::channel();
        let signal = ConfirmWaker { id: pending.next_id(), ready: Arc::clone(&shared.ready) };
        pending.publish(PendingConfirm::new(attempt, Waker::from(Arc::new(signal)), message, answer));
        if pending.has_untold() || pending.is_broken() {
            shared.ready.task.wake();
        }
        Ok(outcome)
    }

    /// Returns the time since the channel was opened.
    pub(super) fn age(&self) -> Duration {
        self.0.opened.elapsed()
    }

    /// Returns `true` if the channel is not known to have ended.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }
}

impl Drop for ConfirmChannel {
    fn drop(&mut self) {
        self.0.unused.store(true, Ordering::Release);
        self.0.ready.task.wake();
    }
}

impl SharedChannel {
    /// Runs until the channel ends, or has no handles left.
    async fn run(&self) {
        let mut woken = Vec::new();
        std::future::poll_fn(|context| self.poll(context, &mut woken)).await;
        let pending = self.lock().take();
        if let Some(pending) = pending {
            pending.lose();
        }
    }

    fn poll(&self, context: &mut Context<'_>, woken: &mut Vec<u64>) -> Poll<()> {
        self.ready.task.register(context.waker());
        loop {
            let mut pending = self.lock();
            let Some(pending) = pending.as_mut() else { return Poll::Ready(()) };
            self.ready.take(woken);
            pending.round(woken.drain(..));
            if pending.is_broken() || (pending.is_empty() && self.unused.load(Ordering::Acquire)) {
                return Poll::Ready(());
            }
            if !pending.has_untold() && self.ready.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<PendingConfirms>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attempt(channel: Arc<Channel>, envelope: Envelope, body: Bytes) -> ConfirmFuture {
    Box::pin(async move {
        let Envelope { exchange, routing_key, properties, mandatory } = envelope;
        let options = BasicPublishOptions { mandatory, immediate: false };
        channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
    })
}

/// Numbers of the messages to poll, in the order in which the client library woke them.
#[derive(Default)]
struct Ready {
    ids: Mutex<Vec<u64>>,
    task: AtomicWaker,
}

impl Ready {
    fn take(&self, woken: &mut Vec<u64>) {
        std::mem::swap(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner), woken);
    }

    fn is_empty(&self) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

struct ConfirmWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for ConfirmWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ids = self.ready.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ids.is_empty();
        ids.push(self.id);
        drop(ids);
        if first {
            self.ready.task.wake();
        }
    }
}

/// Age from which a channel that refuses messages is replaced. A full queue refuses on every
/// channel, so not every message may open a new one.
const STALE: Duration = Duration::from_millis(500);

/// A slot for a channel. A sender that finds it empty opens a channel, and other senders wait for
/// it.
#[derive(Debug, Default)]
pub(super) struct ChannelSlot {
    channel: Mutex<Option<Arc<ConfirmChannel>>>,
    opening: tokio::sync::Mutex<()>,
}

impl ChannelSlot {
    /// Publishes a message and returns the receiver of its outcome. Returns the message instead if
    /// there is no channel.
    pub(super) fn send(
        &self,
        envelope: Envelope,
        message: PendingPublish,
    ) -> Result<oneshot::Receiver<PublishOutcome>, PendingPublish> {
        match self.current() {
            Some(channel) => channel.send(envelope, message),
            None => Err(message),
        }
    }

    /// Empties the slot if its channel is old enough, so that the next sender opens a new one.
    /// Unconfirmed messages get their outcomes on the old channel.
    pub(super) fn leave_stale(&self) {
        let mut channel = self.lock();
        if channel.as_ref().is_some_and(|channel| channel.age() >= STALE) {
            *channel = None;
        }
    }

    /// Empties the slot. Its channel closes when all its messages have their outcomes.
    pub(super) fn clear(&self) {
        *self.lock() = None;
    }

    /// Opens a channel if the slot is empty or its channel has ended.
    pub(super) async fn fill(&self, open: impl Future<Output = Result<ConfirmChannel>>) -> Result<()> {
        let _opening = self.opening.lock().await;
        if !self.is_open() {
            let channel = open.await?;
            *self.lock() = Some(Arc::new(channel));
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.current().is_some_and(|channel| channel.is_open())
    }

    fn current(&self) -> Option<Arc<ConfirmChannel>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<ConfirmChannel>>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
