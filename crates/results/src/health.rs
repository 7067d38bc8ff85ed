//! The availability of a store, and the log lines about it: one at its loss, one each minute, and
//! one when it is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_telemetry::events::results::{StoreLost, StoreRestored, StoreStillLost};
use celeriac_telemetry::{Event, Supervisor};
use tokio::time::Instant;

/// Time between two log lines about the same loss.
const REMINDER: Duration = Duration::from_secs(60);

/// The availability of a store. Everything that uses the store reports to it.
#[derive(Debug)]
pub struct StoreHealth {
    /// The store, without password.
    url: String,
    loss: Mutex<Option<StoreLoss>>,
    /// True while there is a loss: cheap to read for every statement.
    is_lost: AtomicBool,
    /// Number of losses so far.
    losses: AtomicU64,
    /// True after the first connection. Before it, the program has the error at its start.
    was_connected: AtomicBool,
    services: Supervisor,
}

/// A loss that lasts.
#[derive(Debug)]
struct StoreLoss {
    since: Instant,
    told_at: Instant,
    kind: LossKind,
    /// The latest error.
    error: String,
}

/// The part of a store that is lost, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LossKind {
    /// There is no connection.
    Connection,
    /// The server takes no writes of anybody.
    Writable,
    /// Outcomes cannot be written, whether there are connections or not.
    Outcomes,
}

impl StoreHealth {
    /// Returns the health of a store that is not connected yet. `url` has no password.
    pub fn new(url: String) -> Self {
        Self {
            url,
            loss: Mutex::new(None),
            is_lost: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            was_connected: AtomicBool::new(false),
            services: Supervisor::default(),
        }
    }

    /// Returns the supervisor of the services of the store.
    pub fn services(&self) -> &Supervisor {
        &self.services
    }

    /// Returns `true` if the store is unavailable.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Returns the number of losses so far. Whoever finds a connection ended can see from it that
    /// the loss has its log line.
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    /// Returns the latest error, if the store is unavailable.
    pub fn loss(&self) -> Option<String> {
        self.lock().as_ref().map(|loss| loss.error.clone())
    }

    /// Records that there is no connection to the store.
    pub(crate) fn connection_failed(&self, error: &str) {
        if self.was_connected.load(Ordering::Relaxed) {
            self.failed(error, LossKind::Connection);
        }
    }

    /// Records that the store is read-only.
    pub(crate) fn read_only(&self, error: &str) {
        if self.was_connected.load(Ordering::Relaxed) {
            self.failed(error, LossKind::Writable);
        }
    }

    /// Records that the store has not taken outcomes.
    pub(crate) fn write_failed(&self, error: &str) {
        self.failed(error, LossKind::Outcomes);
    }

    /// Records that a connection to the store works.
    pub(crate) fn connected(&self) {
        self.was_connected.store(true, Ordering::Relaxed);
        self.works(LossKind::Connection);
    }

    /// Records that a new connection leads to a store that takes writes.
    pub(crate) fn writable(&self) {
        self.works(LossKind::Writable);
    }

    /// Records that the store has taken outcomes.
    pub(crate) fn written(&self) {
        self.works(LossKind::Outcomes);
    }

    /// Ends a loss of this kind, or of a lesser one.
    fn works(&self, kind: LossKind) {
        if self.is_lost() {
            let mut loss = self.lock();
            if loss.as_ref().is_some_and(|loss| loss.kind <= kind) {
                self.restored(&mut loss);
            }
        }
    }

    fn failed(&self, error: &str, kind: LossKind) {
        let (mut loss, now) = (self.lock(), Instant::now());
        match &mut *loss {
            None => {
                *loss = Some(StoreLoss { since: now, told_at: now, kind, error: error.to_owned() });
                self.is_lost.store(true, Ordering::Relaxed);
                self.losses.fetch_add(1, Ordering::Relaxed);
                StoreLost { store: &self.url, error }.emit();
            }
            Some(loss) => {
                loss.kind = loss.kind.max(kind);
                error.clone_into(&mut loss.error);
                if now.duration_since(loss.told_at) >= REMINDER {
                    loss.told_at = now;
                    StoreStillLost { store: &self.url, after: now.duration_since(loss.since), error }.emit();
                }
            }
        }
    }

    fn restored(&self, loss: &mut Option<StoreLoss>) {
        if let Some(loss) = loss.take() {
            self.is_lost.store(false, Ordering::Relaxed);
            StoreRestored { store: &self.url, after: loss.since.elapsed() }.emit();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<StoreLoss>> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_is_back_when_what_has_failed_works() {
        let health = StoreHealth::new("postgres://db/app".to_owned());
        health.connection_failed("refused");
        assert!(!health.is_lost(), "the program that starts has the error");
        health.connected();
        health.connection_failed("refused");
        assert!(health.is_lost());
        health.connection_failed("no route");
        assert_eq!(health.loss().as_deref(), Some("no route"));
        health.connected();
        assert_eq!((health.is_lost(), health.loss(), health.losses()), (false, None, 1));
        health.read_only("a standby");
        health.connected();
        assert!(health.is_lost(), "it can be read");
        health.writable();
        assert!(!health.is_lost());
        health.write_failed("disk full");
        health.writable();
        assert!(health.is_lost(), "it can be read, and takes nothing");
        health.written();
        assert!(!health.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_is_told_again_each_minute() {
        let health = StoreHealth::new("postgres://db/app".to_owned());
        health.connected();
        let told_at = || health.lock().as_ref().unwrap().told_at;
        let begun = Instant::now();
        let mut told = Vec::new();
        for _ in 0..150 {
            health.connection_failed("refused");
            told.push(told_at().duration_since(begun).as_secs());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        told.dedup();
        assert_eq!(told, [0, 60, 120]);
    }
}
