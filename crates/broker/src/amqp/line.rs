//! A channel in confirm mode, and the task that owns it.
//!
//! The task publishes what it is handed and tells each sender the fate of its message. Many messages are in the air at
//! once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures::task::AtomicWaker;
use lapin::Channel;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

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

struct Request {
    attempt: Attempt,
    parcel: Parcel,
    answer: oneshot::Sender<Fate>,
}

/// A way to hand messages to a channel.
pub(super) struct Line {
    channel: Arc<Channel>,
    requests: mpsc::UnboundedSender<Request>,
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Line").field("channel", &self.channel.id()).finish_non_exhaustive()
    }
}

impl Line {
    /// Takes over a channel. Ends when the channel ends, or when it is dropped and everything in the air has landed.
    ///
    /// # Errors
    /// When the channel does not go into confirm mode.
    pub(super) async fn open(channel: Channel, around: &Surroundings) -> Result<Self, lapin::Error> {
        let selected = timeout(ANSWER, channel.confirm_select(ConfirmSelectOptions::default())).await;
        selected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
        let channel = Arc::new(channel);
        // Bounded by the window, of which every request holds a place.
        let (sender, requests) = mpsc::unbounded_channel();
        let task = Task { requests, flights: Flights::default(), ready: Arc::default(), woken: Vec::new() };
        let closing = around.closing.clone();
        around.tracker.spawn(async move { closing.run_until_cancelled(task.run()).await });
        Ok(Self { channel, requests: sender })
    }

    /// Hands a message over, and says where its fate will be told; hands it back when the channel has ended.
    pub(super) fn send(&self, envelope: Envelope, parcel: Parcel) -> Result<oneshot::Receiver<Fate>, Parcel> {
        let attempt = attempt(Arc::clone(&self.channel), envelope, parcel.outgoing.message.body.clone());
        let (answer, fate) = oneshot::channel();
        match self.requests.send(Request { attempt, parcel, answer }) {
            Ok(()) => Ok(fate),
            Err(refused) => Err(refused.0.parcel),
        }
    }

    /// Whether the channel has not ended, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }
}

struct Task {
    requests: mpsc::UnboundedReceiver<Request>,
    flights: Flights,
    ready: Arc<Ready>,
    woken: Vec<u64>,
}

impl Task {
    async fn run(mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
        // Whoever sends from here on is told at once that the channel has ended.
        self.requests.close();
        self.flights.lose();
        while let Some(request) = self.requests.recv().await {
            let _ = request.answer.send(Fate::Lost(request.parcel.outgoing));
        }
    }

    /// Ready when the channel has ended, or nobody is left to use it.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.ready.task.register(context.waker());
        loop {
            self.ready.take(&mut self.woken);
            self.flights.round(self.woken.drain(..));
            if self.flights.is_broken() {
                return Poll::Ready(());
            }
            if self.flights.has_untold() || !self.ready.is_empty() {
                continue;
            }
            match self.launch_some(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) if self.flights.is_empty() => return Poll::Ready(()),
                Poll::Ready(false) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Launches what has been handed over. Whether there may be more, ever.
    fn launch_some(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        /// Then those in the air get a look again.
        const AT_ONCE: usize = 32;
        for _ in 0..AT_ONCE {
            match self.requests.poll_recv(context) {
                Poll::Ready(Some(request)) => self.launch(request),
                Poll::Ready(None) => return Poll::Ready(false),
                Poll::Pending if self.flights.has_untold() => return Poll::Ready(true),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(true)
    }

    fn launch(&mut self, request: Request) {
        let id = self.flights.next_id();
        let waker = Waker::from(Arc::new(Signal { id, ready: Arc::clone(&self.ready) }));
        let Request { attempt, parcel, answer } = request;
        self.flights.launch(Flight::new(attempt, waker, parcel, answer));
    }
}

fn attempt(channel: Arc<Channel>, envelope: Envelope, body: Bytes) -> Attempt {
    Box::pin(async move {
        let Envelope { exchange, routing_key, properties } = envelope;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
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
