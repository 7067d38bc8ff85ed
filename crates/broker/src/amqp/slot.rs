//! A place for a shared channel, which is filled again when the channel has ended or is of no use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::convert::Envelope;
use super::flights::Fate;
use super::line::{Line, Parcel};
use crate::error::Result;

/// A channel that refuses messages is left for another when it is so old. A full queue refuses on any channel, so there must
/// not be a new one for every message.
const STALE: Duration = Duration::from_millis(500);

/// A place for a channel. Whoever finds none makes one, and the others wait for it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    line: Mutex<Option<Arc<Line>>>,
    opening: tokio::sync::Mutex<()>,
}

impl Slot {
    /// Publishes a message, and says where its fate will be told; hands it back where there is no channel.
    pub(super) fn send(&self, envelope: Envelope, parcel: Parcel) -> Result<oneshot::Receiver<Fate>, Parcel> {
        match self.line() {
            Some(line) => line.send(envelope, parcel),
            None => Err(parcel),
        }
    }

    /// Lets the next sender make a new channel where this one is old enough. What is in the air on it lands there.
    pub(super) fn leave_stale(&self) {
        let mut line = self.lock();
        if line.as_ref().is_some_and(|line| line.age() >= STALE) {
            *line = None;
        }
    }

    /// Puts a channel there where there is none, or one that has ended.
    pub(super) async fn fill(&self, open: impl Future<Output = Result<Line>>) -> Result<()> {
        let _opening = self.opening.lock().await;
        if !self.is_open() {
            let line = open.await?;
            *self.lock() = Some(Arc::new(line));
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.line().is_some_and(|line| line.is_open())
    }

    fn line(&self) -> Option<Arc<Line>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Line>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
