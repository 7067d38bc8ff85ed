//! A channel in confirm mode that many senders share.
//!
//! A sender puts its message on the wire itself. A task of the line's own looks at what the broker says, and tells each
//! sender the fate of its message.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use lapin::Channel;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

use super::connection::{ANSWER, Surroundings};
use super::convert::Envelope;
use super::flights::{Attempt, Fate, Flight, Flights};
use crate::broker::Outgoing;

/// A message to be published, with its place in the window.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) outgoing: Box<Outgoing>,
    /// Free again when the parcel is gone.
    pub(super) _place: OwnedSemaphorePermit,
}

/// A way to hand messages to a channel. The channel is closed when it is dropped and everything in the air has landed.
pub(super) struct Line(Arc<Shared>);

struct Shared {
    channel: Arc<Channel>,
    /// `None` when the channel has ended.
    flights: Mutex<Option<Flights>>,
    ready: Arc<Ready>,
    unused: AtomicBool,
    opened: Instant,
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").field("channel", &self.0.channel.id()).finish_non_exhaustive()
    }
}

impl Line {
    /// Takes over a channel.
    ///
    /// # Errors
    /// When the channel does not go into confirm mode.
    pub(super) async fn open(channel: Channel, around: &Surroundings) -> Result<Self, lapin::Error> {
        let selected = timeout(ANSWER, channel.confirm_select(ConfirmSelectOptions::default())).await;
        selected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
        let shared = Arc::new(Shared {
            channel: Arc::new(channel),
            flights: Mutex::new(Some(Flights::default())),
            ready: Arc::default(),
            unused: AtomicBool::new(false),
            opened: Instant::now(),
        });
        let (task, closing) = (Arc::clone(&shared), around.closing.clone());
        around.tracker.spawn(async move {
            closing.run_until_cancelled(task.run()).await;
            // Taken out also when this program closes the broker: whoever waits learns that nobody will tell.
            drop(task.lock().take());
        });
        Ok(Self(shared))
    }

    /// Publishes a message, and says where its fate will be told; hands it back when the channel has ended.
    pub(super) fn send(&self, envelope: Envelope, parcel: Parcel) -> Result<oneshot::Receiver<Fate>, Parcel> {
        let shared = &*self.0;
        let attempt = attempt(Arc::clone(&shared.channel), envelope, parcel.outgoing.message.body.clone());
        let mut flights = shared.lock();
        let Some(flights) = flights.as_mut() else { return Err(parcel) };
        let (answer, fate) = oneshot::channel();
        let signal = Signal { id: flights.next_id(), ready: Arc::clone(&shared.ready) };
        flights.launch(Flight::new(attempt, Waker::from(Arc::new(signal)), parcel, answer));
        if flights.has_untold() || flights.is_broken() {
            shared.ready.task.wake();
        }
        Ok(fate)
    }

    /// How long ago it was opened.
    pub(super) fn age(&self) -> Duration {
        self.0.opened.elapsed()
    }

    /// Whether the channel has not ended, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.unused.store(true, Ordering::Release);
        self.0.ready.task.wake();
    }
}

impl Shared {
    /// Until the channel has ended, or nobody is left to use it.
    async fn run(&self) {
        let mut woken = Vec::new();
        std::future::poll_fn(|context| self.poll(context, &mut woken)).await;
        let flights = self.lock().take();
        if let Some(flights) = flights {
            flights.lose();
        }
    }

    fn poll(&self, context: &mut Context<'_>, woken: &mut Vec<u64>) -> Poll<()> {
        self.ready.task.register(context.waker());
        loop {
            let mut flights = self.lock();
            let Some(flights) = flights.as_mut() else { return Poll::Ready(()) };
            self.ready.take(woken);
            flights.round(woken.drain(..));
            if flights.is_broken() || (flights.is_empty() && self.unused.load(Ordering::Acquire)) {
                return Poll::Ready(());
            }
            if !flights.has_untold() && self.ready.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Flights>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attempt(channel: Arc<Channel>, envelope: Envelope, body: Bytes) -> Attempt {
    Box::pin(async move {
        let Envelope { exchange, routing_key, properties, mandatory } = envelope;
        let options = BasicPublishOptions { mandatory, immediate: false };
        channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
    })
}

/// Which flights want to be looked at, in the order in which the client library woke them.
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

struct Signal {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for Signal {
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
