//! Which tasks are revoked, as far as one process knows.
//!
//! A revocation is a row in the store. A process that runs tasks keeps all of them in memory, and is told of new ones at
//! once; but being told may fail silently. So it begins a task only within half a second of having looked at the store, and a
//! revocation is in force when that time has passed since its commit: by then every process has looked again, or begins
//! nothing. No clocks are compared for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_telemetry::clock;
use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::record::is_id;

/// How long a process may rely on its last look at the store.
pub(crate) const TRUST: Duration = Duration::from_millis(500);

/// How long a revocation holds where rows are kept for ever, and nobody says otherwise.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How tasks are revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoke {
    /// Whether a task that runs already is ended, too.
    pub terminate: bool,
    /// How long the revocation holds. Default: as long as the rows of tasks are kept.
    pub lasts: Option<Duration>,
}

impl Revoke {
    /// How long it holds where rows are kept so long; zero is for ever, which no revocation is.
    pub(crate) fn lasts(self, rows: Duration) -> Duration {
        let default = if rows.is_zero() { YEAR } else { rows };
        self.lasts.unwrap_or(default).min(YEAR * 100)
    }
}

/// A task is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Whether it is ended where it runs already.
    pub terminate: bool,
}

/// A revocation as the store holds it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) terminate: bool,
    pub(crate) until: Timestamp,
}

/// The revoked tasks, and those that run in this process.
#[derive(Debug, Default)]
pub struct Revocations {
    register: Mutex<Register>,
    /// Somebody wants to begin a task, and has to know more.
    wanted: Notify,
    /// Somebody has looked at the store.
    looked: Notify,
}

#[derive(Debug, Default)]
struct Register {
    revoked: HashMap<Box<str>, Held>,
    running: HashMap<Box<str>, Vec<Running>>,
    next: u64,
    /// When the last look at the store began.
    looked_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    until: Timestamp,
    terminate: bool,
}

#[derive(Debug)]
struct Running {
    number: u64,
    terminated: CancellationToken,
}

/// A task that has begun. Its end is the drop of this.
#[derive(Debug)]
pub struct Begun {
    home: Arc<Revocations>,
    id: Box<str>,
    number: u64,
    terminated: CancellationToken,
}

impl Begun {
    /// Cancelled when the task is to be ended.
    pub fn terminated(&self) -> &CancellationToken {
        &self.terminated
    }
}

impl Revocations {
    /// Begins a task, unless it is revoked. Waits as long as the store cannot tell.
    ///
    /// # Errors
    /// When it is revoked.
    pub async fn begin(self: &Arc<Self>, id: &str) -> Result<Begun, Revoked> {
        loop {
            let looked = self.looked.notified();
            if let Some(answer) = self.try_begin(id) {
                return answer;
            }
            self.wanted.notify_one();
            looked.await;
        }
    }

    /// Whether a task is known to be revoked. One of which nothing is known here may be revoked all the same.
    pub fn known(&self, id: &str) -> Option<Revoked> {
        self.lock().revocation(id)
    }

    fn try_begin(self: &Arc<Self>, id: &str) -> Option<Result<Begun, Revoked>> {
        let mut register = self.lock();
        if let Some(revoked) = register.revocation(id) {
            return Some(Err(revoked));
        }
        let age = register.looked_at?.elapsed();
        if age >= TRUST {
            return None;
        }
        if age >= TRUST / 2 {
            // In time for those that begin next.
            self.wanted.notify_one();
        }
        let number = register.next;
        register.next += 1;
        let (id, terminated) = (Box::from(id), CancellationToken::new());
        let running = Running { number, terminated: terminated.clone() };
        register.running.entry(Box::clone(&id)).or_default().push(running);
        Some(Ok(Begun { home: Arc::clone(self), id, number, terminated }))
    }

    fn end(&self, id: &str, number: u64) {
        let mut register = self.lock();
        if let Some(running) = register.running.get_mut(id) {
            running.retain(|running| running.number != number);
            if running.is_empty() {
                register.running.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        // Nothing in here panics half-way through a change.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For whoever looks at the store.
impl Revocations {
    /// Returns when a look at the store is due.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks for a look at the store.
    #[cfg(feature = "sqlite")]
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Whether any task runs.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_watched(&self) -> bool {
        !self.lock().running.is_empty()
    }

    /// Takes up what a look has found, and ends what runs and should not.
    pub(crate) fn learn(&self, rows: Vec<Row>) {
        let mut register = self.lock();
        for Row { id, terminate, until } in rows {
            if terminate {
                for running in register.running.get(id.as_str()).into_iter().flatten() {
                    running.terminated.cancel();
                }
            }
            register.revoked.insert(id.into(), Held { until, terminate });
        }
    }

    /// A look that began then has found everything.
    pub(crate) fn looked(&self, began: Instant) {
        let took = began.elapsed();
        if took >= TRUST {
            tracing::warn!("tasks begin late: a look at what is revoked took {took:?}, and holds for {TRUST:?}");
        }
        // Whoever has asked for another one meanwhile has it now, or asks again.
        let _ = self.wanted.notified().now_or_never();
        self.lock().looked_at = Some(began);
        self.looked.notify_waiters();
    }

    /// Drops what no longer holds.
    pub(crate) fn drop_passed(&self) {
        let now = clock::now();
        self.lock().revoked.retain(|_, held| held.until > now);
    }
}

impl Register {
    fn revocation(&self, id: &str) -> Option<Revoked> {
        let held = self.revoked.get(id)?;
        (held.until > clock::now()).then_some(Revoked { terminate: held.terminate })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.home.end(&self.id, self.number);
    }
}

/// The ids, each once and in order.
///
/// # Errors
/// When one of them can be no task's.
pub(crate) fn checked(ids: &[String]) -> Result<Vec<&str>> {
    if let Some(wrong) = ids.iter().find(|id| !is_id(id)) {
        let shown: String = wrong.escape_debug().take(40).collect();
        let reason = "a task id has 1 to 255 bytes, and not U+0000 in it".to_owned();
        return Err(Error::Invalid { key: format!("task id `{shown}`"), reason });
    }
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, terminate: bool, until: Timestamp) -> Row {
        Row { id: id.to_owned(), terminate, until }
    }

    fn later() -> Timestamp {
        clock::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_that_was_not_looked_up_just_before() {
        let revocations = Arc::new(Revocations::default());
        assert!(revocations.try_begin("a").is_none());
        let began = Instant::now();
        revocations.looked(began);
        assert!(matches!(revocations.try_begin("a"), Some(Ok(_))));
        tokio::time::advance(TRUST).await;
        assert!(revocations.try_begin("a").is_none());

        let begin = revocations.begin("a");
        let look = async {
            revocations.wanted().await;
            revocations.learn(vec![row("a", false, later())]);
            revocations.looked(Instant::now());
        };
        let (begun, ()) = tokio::join!(begin, look);
        assert_eq!(begun.unwrap_err(), Revoked { terminate: false });
    }

    #[tokio::test]
    async fn what_runs_is_ended_by_a_termination_alone() {
        let revocations = Arc::new(Revocations::default());
        revocations.looked(Instant::now());
        let begun = revocations.begin("a").await.unwrap();
        let other = revocations.begin("b").await.unwrap();
        revocations.learn(vec![row("a", false, later())]);
        assert!(!begun.terminated().is_cancelled());
        revocations.learn(vec![row("a", true, later())]);
        assert!(begun.terminated().is_cancelled() && !other.terminated().is_cancelled());
        drop((begun, other));
        assert!(revocations.lock().running.is_empty());
    }

    #[tokio::test]
    async fn a_revocation_holds_until_its_end() {
        let revocations = Arc::new(Revocations::default());
        revocations.looked(Instant::now());
        revocations.learn(vec![row("a", false, clock::now()), row("b", true, later())]);
        assert!(revocations.begin("a").await.is_ok());
        assert_eq!(revocations.known("b"), Some(Revoked { terminate: true }));
        revocations.drop_passed();
        assert_eq!(revocations.lock().revoked.len(), 1);
    }
}
