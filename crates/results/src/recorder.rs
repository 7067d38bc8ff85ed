//! Writes many outcomes at once.
//!
//! The next batch is written as soon as one of the parallel writes is free. It has all outcomes
//! that have arrived by then. A single outcome never waits for others, and batches grow under load.

use std::collections::HashSet;
use std::sync::Arc;

use celeriac_protocol::TaskState;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{BatchRecorded, OutcomesNotAnnounced};
use futures::StreamExt;
use futures::future::Either;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::backoff::StoreBackoff;
use crate::error::{Error, Result};
use crate::options::ResultsOptions;
use crate::outcomes::Recorded;
use crate::record::TaskRecord;
use crate::sweep::{Retention, sweep};
use crate::task_end::TaskEnd;

/// Bytes of arguments and results at which a batch is full.
const ENOUGH_BYTES: usize = 4 * 1024 * 1024;

/// Most tasks in one notification, and in its queue.
const ANNOUNCED: usize = 1_024;

/// Writes outcomes for many callers, in batches. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<RecordRequest>,
    ended: mpsc::Sender<TaskEnd>,
}

#[derive(Debug)]
struct RecordRequest {
    /// Boxed, because a record is large and is moved often.
    record: Box<TaskRecord>,
    answer: oneshot::Sender<Recorded>,
}

impl Recorder {
    /// Returns a recorder, and the service that must run for it.
    pub fn new(backend: Arc<dyn Backend>, options: &ResultsOptions) -> (Self, RecorderService) {
        let (rows, in_flight) = (options.batch.max_rows.max(1), options.batch.max_in_flight.max(1));
        // Holds the records of the writes in progress, and as many again.
        let (queue, entries) = mpsc::channel(rows.saturating_mul(in_flight).saturating_mul(2).min(1 << 20));
        let (ended, announcements) = mpsc::channel(ANNOUNCED);
        let store = RecordingStore { backend };
        let service =
            RecorderService { entries, announcements, store, rows, in_flight, retention: Retention::new(options) };
        (Self { queue, ended }, service)
    }

    /// Waits until the record is durable, until the store keeps a better one, or until the store
    /// refuses it.
    ///
    /// It waits while the store is unavailable.
    ///
    /// # Errors
    /// Returns an error if the recorder ended first. The record may be stored or not: do not
    /// acknowledge the message.
    pub async fn record(&self, record: Box<TaskRecord>) -> Result<Recorded> {
        let (answer, recorded) = oneshot::channel();
        self.queue.send(RecordRequest { record, answer }).await.map_err(|_| Error::Closed)?;
        recorded.await.map_err(|_| Error::Closed)
    }

    /// Writes the start of an attempt soon. No caller waits for it: if the queue is full, the start
    /// is left out.
    pub fn record_start(&self, record: Box<TaskRecord>) {
        let (answer, _) = oneshot::channel();
        let _ = self.queue.try_send(RecordRequest { record, answer });
    }

    /// Announces a task whose row was written in a transaction.
    ///
    /// The announcement is sent soon, together with others. No caller waits for it. If the queue is
    /// full, it is dropped, and the waits find the row at their next check.
    pub fn announce(&self, record: &TaskRecord) {
        let _ = self.ended.try_send(TaskEnd::of(record));
    }
}

/// The part of a [`Recorder`] that writes.
#[derive(Debug)]
pub struct RecorderService {
    entries: mpsc::Receiver<RecordRequest>,
    announcements: mpsc::Receiver<TaskEnd>,
    store: RecordingStore,
    rows: usize,
    in_flight: usize,
    retention: Retention,
}

impl RecorderService {
    /// Writes records, and deletes rows after the retention time.
    ///
    /// After `stop` it accepts nothing more, writes the records that it has, and returns. While the
    /// store is unavailable it does not return: drop the future to end it, and the callers of
    /// unwritten records get an error.
    pub async fn run(self, stop: CancellationToken) {
        let backend = Arc::clone(&self.store.backend);
        let retention = self.retention;
        tokio::select! {
            () = self.write(stop) => {}
            () = sweep(&*backend, retention) => {}
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
                ends = next_ends(&mut self.announcements), if announcing && writes.len() < self.in_flight => match ends {
                    Some(ends) => writes.push(Either::Right(self.store.announce(ends))),
                    None => announcing = false,
                },
                else => return,
            }
        }
    }
}

/// Records that are written together, each with its caller.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<TaskRecord>,
    answers: Vec<oneshot::Sender<Recorded>>,
    bytes: usize,
}

/// Waits for one record, and takes all that have arrived by then.
async fn next_batch(entries: &mut mpsc::Receiver<RecordRequest>, rows: usize) -> Option<Batch> {
    let mut batch = Batch::default();
    batch.push(entries.recv().await?);
    while batch.records.len() < rows && batch.bytes < ENOUGH_BYTES {
        match entries.try_recv() {
            Ok(entry) => batch.push(entry),
            Err(_) => break,
        }
    }
    batch.drop_overtaken_starts();
    Some(batch)
}

/// Waits for one ended task, and takes all that have arrived by then.
async fn next_ends(announcements: &mut mpsc::Receiver<TaskEnd>) -> Option<Vec<TaskEnd>> {
    let mut ends = Vec::new();
    (announcements.recv_many(&mut ends, ANNOUNCED).await > 0).then_some(ends)
}

impl Batch {
    fn push(&mut self, RecordRequest { record, answer }: RecordRequest) {
        self.bytes += record.size() + record.log.as_ref().map_or(0, |log| log.text.len());
        self.records.push(*record);
        self.answers.push(answer);
    }

    /// Drops the starts of attempts whose end is in the batch, so that a short task costs one row.
    fn drop_overtaken_starts(&mut self) {
        let is_start = |record: &TaskRecord| record.state == TaskState::Started;
        if !self.records.iter().any(is_start) {
            return;
        }
        let ended: HashSet<String> =
            self.records.iter().filter(|record| !is_start(record)).map(|record| record.id.clone()).collect();
        let (records, answers) = (std::mem::take(&mut self.records), std::mem::take(&mut self.answers));
        let kept =
            records.into_iter().zip(answers).filter(|(record, _)| !is_start(record) || !ended.contains(&record.id));
        (self.records, self.answers) = kept.unzip();
    }

    fn answer(self, recorded: Vec<Recorded>) {
        for (answer, recorded) in self.answers.into_iter().zip(recorded) {
            // The caller may have stopped waiting.
            let _ = answer.send(recorded);
        }
    }
}

/// The store that takes the outcomes.
#[derive(Debug)]
struct RecordingStore {
    backend: Arc<dyn Backend>,
}

impl RecordingStore {
    /// Writes a batch, and repeats it until it succeeds.
    async fn write(&self, batch: Batch) {
        let mut backoff = StoreBackoff::new();
        loop {
            let begun = Instant::now();
            match self.backend.record(&batch.records).await {
                Ok(recorded) => {
                    self.backend.health().written();
                    BatchRecorded { rows: batch.records.len(), took: begun.elapsed() }.emit();
                    return batch.answer(recorded);
                }
                // This program closed the store, and it never opens again.
                Err(Error::Closed) => return,
                Err(error) => self.backend.health().write_failed(&error.to_string()),
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn announce(&self, ends: Vec<TaskEnd>) {
        if let Err(error) = self.backend.announce(ends).await {
            // The waits find the rows at their next check.
            OutcomesNotAnnounced { error: &error.to_string() }.emit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_dropped_if_the_end_of_its_attempt_is_in_the_batch() {
        let mut batch = Batch::default();
        let states = [
            ("a", TaskState::Started),
            ("b", TaskState::Started),
            ("a", TaskState::Success),
            ("c", TaskState::Retry),
            ("c", TaskState::Started),
        ];
        for (id, state) in states {
            let record = Box::new(TaskRecord::new(id, "t", state));
            batch.push(RecordRequest { record, answer: oneshot::channel().0 });
        }
        batch.drop_overtaken_starts();
        let kept: Vec<_> = batch.records.iter().map(|record| (record.id.as_str(), record.state)).collect();
        assert_eq!(kept, [("b", TaskState::Started), ("a", TaskState::Success), ("c", TaskState::Retry)]);
        assert_eq!(batch.answers.len(), 3);
    }
}
