//! Attempts that may have brought their worker down: how often each was begun without an end.
//!
//! Only what was delivered before is ever suspected, so a queue in good order costs nothing here. After the death of a
//! worker all that it held comes back at once: what is asked then is asked together.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::pause::Pause;
use crate::record::is_id;

/// Most of them in one statement.
const PIECE: usize = 256;

/// One attempt of a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    /// Task id.
    pub id: String,
    /// Attempts before it.
    pub retries: u32,
    /// How often the task was replayed.
    pub replays: u32,
}

/// A suspected attempt that is about to begin.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// Which.
    pub attempt: AttemptKey,
    /// The worker that would run it.
    pub worker: Arc<str>,
    /// It begins only if it has begun less often.
    pub below: u32,
}

/// What is held against an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// How often it was begun without an end, this time included.
    pub starts: u32,
    /// Whether it begins: this is on record now.
    pub begins: bool,
}

/// An attempt that has ended in order.
#[derive(Debug, Clone)]
pub struct Cleared {
    /// Which.
    pub attempt: AttemptKey,
    /// Whether it was only interrupted: then one start is taken back, and the others stay.
    pub interrupted: bool,
}

/// The way to the record of suspects. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Suspects {
    queue: mpsc::Sender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Begin(Suspect, oneshot::Sender<Suspicion>),
    Clear(Cleared),
}

impl Suspects {
    /// A record, and the service that has to run for it.
    pub fn new(backend: Arc<dyn Backend>) -> (Self, SuspectsService) {
        let (queue, entries) = mpsc::channel(2 * PIECE);
        (Self { queue }, SuspectsService { entries, backend })
    }

    /// Asks whether an attempt may begin, and puts on record that it does.
    ///
    /// While the store is away that takes as long as it is away.
    ///
    /// # Errors
    /// When the service has ended before that.
    pub async fn begin(&self, suspect: Suspect) -> Result<Suspicion> {
        if !is_id(&suspect.attempt.id) {
            // It runs, and is dead-lettered for what its id is: no store can hold its row either.
            return Ok(Suspicion { starts: 0, begins: true });
        }
        let (answer, suspicion) = oneshot::channel();
        self.queue.send(Entry::Begin(suspect, answer)).await.map_err(|_| Error::Closed)?;
        suspicion.await.map_err(|_| Error::Closed)
    }

    /// Takes an attempt off the record, a moment later. One that stays there because its worker ended in that moment does
    /// no harm but to count against the same attempt.
    pub async fn clear(&self, cleared: Cleared) {
        if !is_id(&cleared.attempt.id) {
            return;
        }
        // After the service there is nobody to tell.
        let _ = self.queue.send(Entry::Clear(cleared)).await;
    }
}

/// The part of [`Suspects`] that reads and writes.
#[derive(Debug)]
pub struct SuspectsService {
    entries: mpsc::Receiver<Entry>,
    backend: Arc<dyn Backend>,
}

impl SuspectsService {
    /// Answers what comes. After `stop` it takes nothing more, writes what it has taken, and returns; while the store is
    /// away, drop the future when patience ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(PIECE);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.entries.is_closed() => self.entries.close(),
                taken = self.entries.recv_many(&mut batch, PIECE) => match taken {
                    0 => return,
                    _ => self.write(&mut batch).await,
                },
            }
        }
    }

    /// Clears before it asks: who comes again may be among those that are cleared.
    async fn write(&self, batch: &mut Vec<Entry>) {
        let (mut cleared, mut asking) = (Vec::new(), Vec::new());
        for entry in batch.drain(..) {
            match entry {
                Entry::Begin(suspect, answer) => asking.push((suspect, answer)),
                Entry::Clear(one) => cleared.push(one),
            }
        }
        if !cleared.is_empty() {
            self.insist(|| self.backend.clear(&cleared)).await;
        }
        while !asking.is_empty() {
            let (suspects, answers): (Vec<_>, Vec<_>) = take_each_once(&mut asking).into_iter().unzip();
            let Some(suspicions) = self.insist(|| self.backend.suspect(&suspects)).await else { return };
            for (answer, suspicion) in answers.into_iter().zip(suspicions) {
                // One who no longer waits is not begun, and so is on record once too often.
                let _: Result<_, _> = answer.send(suspicion);
            }
        }
    }

    /// Does it as often as it takes; `None` when the store was closed.
    async fn insist<'a, T>(&self, attempt: impl Fn() -> BoxFuture<'a, Result<T>>) -> Option<T> {
        let mut pause = Pause::new();
        loop {
            match attempt().await {
                Ok(done) => return Some(done),
                Err(Error::Closed) => return None,
                Err(error) => tracing::warn!("no suspect begins, trying again: {}", error.chain()),
            }
            sleep(pause.next()).await;
        }
    }
}

/// Takes out one of each task: a statement cannot write a row twice.
fn take_each_once(
    asking: &mut Vec<(Suspect, oneshot::Sender<Suspicion>)>,
) -> Vec<(Suspect, oneshot::Sender<Suspicion>)> {
    let mut seen = HashSet::new();
    asking.extract_if(.., |(suspect, _)| seen.insert(suspect.attempt.id.clone())).collect()
}
