//! Writes the rows of sent tasks, in batches, beside the sends.
//!
//! A send never fails because of its row. While the store is away, a bounded number of rows waits;
//! the rows beyond it are counted, and the count is logged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{SentTasksNotRecorded, StoreAwaited};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::backoff::StoreBackoff;
use crate::error::Error;
use crate::record::{SentRecord, is_id};

/// Rows that wait for the store, at most.
const WAITING: usize = 8_192;

/// Rows of one write, at most.
const BATCH: usize = 1_024;

/// Longest wait of a send for room, while the store takes writes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longest time in which the last rows are written when a client closes.
const PARTING: Duration = Duration::from_millis(300);

/// Time between two log lines about rows that are not written.
const REMINDER: Duration = Duration::from_secs(60);

/// Writes the rows of sent tasks.
#[derive(Debug)]
pub struct SentTasks {
    backend: Arc<dyn Backend>,
    rows: mpsc::Sender<SentRecord>,
    missed: Arc<MissedRows>,
    stop: CancellationToken,
    service: TaskTracker,
}

impl SentTasks {
    /// Starts to write to a store.
    ///
    /// # Panics
    /// Panics outside of a Tokio runtime.
    pub fn start(backend: Arc<dyn Backend>) -> Self {
        let (rows, waiting) = mpsc::channel(WAITING);
        let (missed, stop, service) = (Arc::<MissedRows>::default(), CancellationToken::new(), TaskTracker::new());
        let writer = SentWriter { backend: Arc::clone(&backend), waiting, missed: Arc::clone(&missed) };
        service.spawn(backend.health().services().watch("sent tasks", writer.run(stop.clone())));
        Self { backend, rows, missed, stop, service }
    }

    /// Writes the row of a task soon. Waits for room for a moment while the store takes writes, and
    /// not at all while it is lost.
    pub async fn add(&self, task: SentRecord) {
        if !is_id(&task.id) {
            return;
        }
        let reason = match self.rows.try_send(task) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Closed(_)) => "the client is closed".to_owned(),
            Err(mpsc::error::TrySendError::Full(task)) => match self.backend.health().loss() {
                Some(error) => error,
                None => match timeout(PATIENCE, self.rows.send(task)).await {
                    Ok(Ok(())) => return,
                    _ => "the store takes fewer rows than are sent".to_owned(),
                },
            },
        };
        self.missed.add(1, &reason);
    }

    /// Writes the rows that wait, for up to 300 ms, and ends.
    pub async fn close(&self) {
        self.stop.cancel();
        self.service.close();
        // Its end drops the writer, which counts the rows that it still has.
        if timeout(PARTING, self.service.wait()).await.is_err() {
            self.missed.abort.cancel();
            self.service.wait().await;
        }
        self.missed.tell();
    }
}

impl Drop for SentTasks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The service of [`SentTasks`].
struct SentWriter {
    backend: Arc<dyn Backend>,
    waiting: mpsc::Receiver<SentRecord>,
    missed: Arc<MissedRows>,
}

impl SentWriter {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let received = tokio::select! {
                biased;
                received = self.waiting.recv_many(&mut batch, BATCH) => received,
                () = stop.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            let abort = self.missed.abort.clone();
            if let Err(reason) = abort.run_until_cancelled(self.write(&batch)).await.unwrap_or_else(|| self.aborted()) {
                self.missed.add(batch.len(), &reason);
            }
            batch.clear();
            if abort.is_cancelled() {
                self.missed.add(self.waiting.len(), "the client is closed");
                return;
            }
        }
    }

    /// Writes a batch, and repeats it while the store is away. Returns the reason if it refuses.
    async fn write(&self, batch: &[SentRecord]) -> Result<(), String> {
        let mut backoff = StoreBackoff::new();
        loop {
            match self.backend.record_sent(batch).await {
                Ok(()) => return Ok(()),
                Err(Error::Closed) => return Err("the store is closed".to_owned()),
                Err(error) if error.is_retryable() => {
                    let retry_in = backoff.next_wait();
                    StoreAwaited { work: "sent tasks", retry_in, error: &error.to_string() }.emit();
                    sleep(retry_in).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn aborted(&self) -> Result<(), String> {
        Err(self.backend.health().loss().unwrap_or_else(|| "the client is closed".to_owned()))
    }
}

/// The rows that were not written, until they are logged.
#[derive(Debug, Default)]
struct MissedRows {
    /// Cancelled when the rows that wait are given up.
    abort: CancellationToken,
    counted: Mutex<Missed>,
}

#[derive(Debug, Default)]
struct Missed {
    rows: usize,
    reason: String,
    told_at: Option<Instant>,
}

impl MissedRows {
    /// Counts rows, and logs the first ones at once and the others each minute.
    fn add(&self, rows: usize, reason: &str) {
        let is_due = {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.rows += rows;
            reason.clone_into(&mut counted.reason);
            counted.told_at.is_none_or(|told| told.elapsed() >= REMINDER)
        };
        if is_due {
            self.tell();
        }
    }

    fn tell(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let tasks = std::mem::take(&mut counted.rows);
        if tasks > 0 {
            counted.told_at = Some(Instant::now());
            SentTasksNotRecorded { tasks, error: &counted.reason }.emit();
        }
    }
}
