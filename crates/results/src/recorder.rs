//! Many outcomes in one write.
//!
//! The next batch is written as soon as there is room for it, with whatever has come until then: a lone outcome waits
//! for nobody, and under load batches grow by themselves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{BatchRecorded, StoreLost, StoreRestored};
use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Recorded};
use crate::error::{Error, Result};
use crate::options::ResultsOptions;
use crate::pause::Pause;
use crate::record::TaskRecord;
use crate::sweep::sweep;

/// A batch takes no further record when it has this many bytes of arguments and results.
const ENOUGH_BYTES: usize = 4 * 1024 * 1024;

/// Most tasks that are announced together, and that wait for it.
const ANNOUNCED: usize = 1_024;

/// Writes outcomes for many callers, in batches. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Entry>,
    ended: mpsc::Sender<String>,
}

#[derive(Debug)]
struct Entry {
    /// Boxed: it passes through many hands.
    record: Box<TaskRecord>,
    answer: oneshot::Sender<Recorded>,
}

impl Recorder {
    /// A recorder, and the service that has to run for it.
    pub fn new(backend: Arc<dyn Backend>, options: &ResultsOptions) -> (Self, RecorderService) {
        let (rows, in_flight) = (options.batch.rows.max(1), options.batch.in_flight.max(1));
        // What fits into the writes on their way, and as much again behind them.
        let (queue, entries) = mpsc::channel(rows.saturating_mul(in_flight).saturating_mul(2).min(1 << 20));
        let (ended, announcements) = mpsc::channel(ANNOUNCED);
        let store = Store { backend, lost_since: Mutex::new(None) };
        let service = RecorderService { entries, announcements, store, rows, in_flight, keep: options.keep };
        (Self { queue, ended }, service)
    }

    /// Returns when the record is durable, or when the store has something better or refuses it.
    ///
    /// While the store is away that takes as long as it is away.
    ///
    /// # Errors
    /// When the recorder ended before that. The record may stand in the store or not: do not acknowledge the message.
    pub async fn record(&self, record: Box<TaskRecord>) -> Result<Recorded> {
        let (answer, recorded) = oneshot::channel();
        self.queue.send(Entry { record, answer }).await.map_err(|_| Error::Closed)?;
        recorded.await.map_err(|_| Error::Closed)
    }

    /// Lets those know who wait for this task that its row stands, which was written in a transaction of its own. Together
    /// with others, soon, and with nobody waiting for it; where there is too much to announce they find out by themselves.
    pub fn announce(&self, id: &str) {
        let _ = self.ended.try_send(id.to_owned());
    }
}

/// The part of a [`Recorder`] that writes.
#[derive(Debug)]
pub struct RecorderService {
    entries: mpsc::Receiver<Entry>,
    announcements: mpsc::Receiver<String>,
    store: Store,
    rows: usize,
    in_flight: usize,
    keep: Duration,
}

impl RecorderService {
    /// Writes what comes in, and deletes what is older than the options keep.
    ///
    /// After `stop` it takes nothing more, writes what it has taken, and returns. While the store is away that does not
    /// end by itself: drop the future when patience does, and the callers of what is not written get an error.
    pub async fn run(self, stop: CancellationToken) {
        let backend = Arc::clone(&self.store.backend);
        let keep = self.keep;
        tokio::select! {
            () = self.write(stop) => {}
            () = sweep(&*backend, keep) => {}
        }
    }

    async fn write(mut self, stop: CancellationToken) {
        let mut writes = FuturesUnordered::new();
        let (mut taking, mut open, mut announcing) = (true, true, true);
        loop {
            tokio::select! {
                biased;
                Some(()) = writes.next() => {}
                () = stop.cancelled(), if taking => {
                    taking = false;
                    self.entries.close();
                    self.announcements.close();
                }
                batch = next_batch(&mut self.entries, self.rows), if open && writes.len() < self.in_flight => match batch {
                    Some(batch) => writes.push(Either::Left(self.store.write(batch))),
                    None => open = false,
                },
                ids = next_ids(&mut self.announcements), if announcing && writes.len() < self.in_flight => match ids {
                    Some(ids) => writes.push(Either::Right(self.store.announce(ids))),
                    None => announcing = false,
                },
                else => return,
            }
        }
    }
}

/// Records that are written together, each with the one who waits for it.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<TaskRecord>,
    answers: Vec<oneshot::Sender<Recorded>>,
    bytes: usize,
}

/// Waits for one record, and takes those that have come by then.
async fn next_batch(entries: &mut mpsc::Receiver<Entry>, rows: usize) -> Option<Batch> {
    let mut batch = Batch::default();
    batch.push(entries.recv().await?);
    while batch.records.len() < rows && batch.bytes < ENOUGH_BYTES {
        match entries.try_recv() {
            Ok(entry) => batch.push(entry),
            Err(_) => break,
        }
    }
    Some(batch)
}

/// Waits for one task that has ended, and takes those that have come by then.
async fn next_ids(announcements: &mut mpsc::Receiver<String>) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    (announcements.recv_many(&mut ids, ANNOUNCED).await > 0).then_some(ids)
}

impl Batch {
    fn push(&mut self, Entry { record, answer }: Entry) {
        self.bytes += record.size();
        self.records.push(*record);
        self.answers.push(answer);
    }

    fn answer(self, recorded: Vec<Recorded>) {
        for (answer, recorded) in self.answers.into_iter().zip(recorded) {
            // One who no longer waits has no use for it.
            let _ = answer.send(recorded);
        }
    }
}

/// The store, and whether it is there.
#[derive(Debug)]
struct Store {
    backend: Arc<dyn Backend>,
    lost_since: Mutex<Option<Instant>>,
}

impl Store {
    /// Writes a batch, as often as it takes.
    async fn write(&self, batch: Batch) {
        let mut pause = Pause::new();
        loop {
            let begun = Instant::now();
            match self.backend.record(&batch.records).await {
                Ok(recorded) => {
                    self.restored();
                    BatchRecorded { rows: batch.records.len(), took: begun.elapsed() }.emit();
                    return batch.answer(recorded);
                }
                // Closed by this program: nobody will open it again.
                Err(Error::Closed) => return,
                Err(error) => self.lost(&error),
            }
            sleep(pause.next()).await;
        }
    }

    async fn announce(&self, ids: Vec<String>) {
        if let Err(error) = self.backend.announce(&ids).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "tasks have ended and were not announced: those who wait for them will look for themselves"
            );
        }
    }

    fn lost(&self, error: &Error) {
        let mut lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner);
        if lost_since.is_none() {
            *lost_since = Some(Instant::now());
            StoreLost { error: &error.chain() }.emit();
        }
    }

    fn restored(&self) {
        if let Some(since) = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner).take() {
            StoreRestored { after: since.elapsed() }.emit();
        }
    }
}
