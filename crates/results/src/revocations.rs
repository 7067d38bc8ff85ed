//! Revoked tasks: in the store, and in the memory of each process that runs tasks.
//!
//! A revocation is a row in the store. A process that runs tasks keeps all revocations in memory,
//! and is notified of new ones at once, but a notification may be lost silently. So a process
//! starts a task only within half a second of its last read of the store. A revocation is in force
//! half a second after its commit: by then every process has read it, or starts nothing. No clocks
//! are compared for that.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::RevocationsSlow;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::StoreClock;
use crate::error::{Error, Result};
use crate::record::is_id;

/// Longest time that a process may rely on its last read of the store.
pub(crate) const MAX_STALENESS: Duration = Duration::from_millis(500);

/// Time that a revocation lasts if rows are kept for ever and the caller sets no time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The revocations of a store.
pub trait Revocations: fmt::Debug + Send + Sync + 'static {
    /// Revokes tasks.
    ///
    /// When it returns, none of them starts any more in any process that runs tasks on this store.
    /// That includes processes that start later, and processes that cannot reach the store, which
    /// start nothing. A call takes half a second for any number of tasks.
    ///
    /// A task that is already revoked keeps the later end of both revocations. It is terminated if
    /// either requests it.
    fn revoke<'a>(&'a self, ids: &'a [String], options: RevokeOptions) -> BoxFuture<'a, Result<()>>;

    /// Returns the cache of revocations in this process. The first call starts to keep it up to
    /// date.
    fn revocation_cache(&self) -> &Arc<RevocationCache>;

    /// Deletes at most `at_most` expired revocations, and returns their number.
    fn sweep_revocations(&self, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// The options of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevokeOptions {
    /// True if a running task is ended too.
    pub terminate: bool,
    /// Time that the revocation lasts. Default: the retention time of rows.
    pub lasts: Option<Duration>,
}

impl RevokeOptions {
    /// Returns the duration of the revocation. `rows` is the retention time of rows. Zero keeps
    /// rows for ever, but a revocation ends after a year.
    pub(crate) fn lasts(self, rows: Duration) -> Duration {
        let default = if rows.is_zero() { YEAR } else { rows };
        self.lasts.unwrap_or(default).min(YEAR * 100)
    }
}

/// A task is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// True if a running task is ended.
    pub terminate: bool,
}

/// A revocation in the store.
#[derive(Debug)]
pub(crate) struct RevocationRow {
    pub(crate) id: String,
    pub(crate) terminate: bool,
    pub(crate) until: Timestamp,
}

/// The revoked tasks, and the tasks that run in this process.
#[derive(Debug, Default)]
pub struct RevocationCache {
    /// Decides on the end of a revocation.
    clock: StoreClock,
    cached: Mutex<CachedRevocations>,
    /// Notified when a task needs a fresh read before its start.
    refresh_requested: Notify,
    /// Notified after a read of the store.
    refreshed: Notify,
}

#[derive(Debug, Default)]
struct CachedRevocations {
    revoked: HashMap<Box<str>, CachedRevocation>,
    running: HashMap<Box<str>, Vec<RunningEntry>>,
    next: u64,
    /// Time at which the last read of the store began.
    looked_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct CachedRevocation {
    until: Timestamp,
    terminate: bool,
}

#[derive(Debug)]
struct RunningEntry {
    number: u64,
    terminated: CancellationToken,
}

/// A started task. Dropping it marks its end.
#[derive(Debug)]
pub struct RunningTask {
    cache: Arc<RevocationCache>,
    id: Box<str>,
    number: u64,
    terminated: CancellationToken,
}

impl RunningTask {
    /// Returns the token that is cancelled when the task must end.
    pub fn terminated(&self) -> &CancellationToken {
        &self.terminated
    }
}

impl RevocationCache {
    /// Starts a task, unless it is revoked. Waits while the store is unavailable.
    ///
    /// # Errors
    /// Returns an error if the task is revoked.
    pub async fn start_task(self: &Arc<Self>, id: &str) -> Result<RunningTask, Revoked> {
        loop {
            let refreshed = self.refreshed.notified();
            if let Some(answer) = self.try_start_task(id) {
                return answer;
            }
            self.refresh_requested.notify_one();
            refreshed.await;
        }
    }

    /// Returns the revocation of a task, if this process knows it. An unknown one may exist.
    pub fn find_revoked(&self, id: &str) -> Option<Revoked> {
        self.lock().revocation(id, &self.clock)
    }

    /// Returns the ids of revoked tasks, at most this many.
    pub fn revoked_ids(&self, most: usize) -> Vec<String> {
        let (cached, now) = (self.lock(), self.clock.now());
        let revoked = cached.revoked.iter().filter(|(_, held)| held.until > now);
        revoked.take(most).map(|(id, _)| id.to_string()).collect()
    }

    fn try_start_task(self: &Arc<Self>, id: &str) -> Option<Result<RunningTask, Revoked>> {
        let mut cached = self.lock();
        if let Some(revoked) = cached.revocation(id, &self.clock) {
            return Some(Err(revoked));
        }
        let age = cached.looked_at?.elapsed();
        if age >= MAX_STALENESS {
            return None;
        }
        if age >= MAX_STALENESS / 2 {
            // Requested here, so that tasks that start next need not wait for the read.
            self.refresh_requested.notify_one();
        }
        let number = cached.next;
        cached.next += 1;
        let (id, terminated) = (Box::from(id), CancellationToken::new());
        let running = RunningEntry { number, terminated: terminated.clone() };
        cached.running.entry(Box::clone(&id)).or_default().push(running);
        Some(Ok(RunningTask { cache: Arc::clone(self), id, number, terminated }))
    }

    fn end_task(&self, id: &str, number: u64) {
        let mut cached = self.lock();
        if let Some(running) = cached.running.get_mut(id) {
            running.retain(|running| running.number != number);
            if running.is_empty() {
                cached.running.remove(id);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, CachedRevocations> {
        // No code under this lock panics in the middle of a change.
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The interface for the services that read the store.
impl RevocationCache {
    /// Returns an empty cache. `clock` is the clock of the store.
    pub(crate) fn new(clock: StoreClock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// Completes when a read of the store is due.
    pub(crate) async fn refresh_requested(&self) {
        self.refresh_requested.notified().await;
    }

    /// Requests a read of the store.
    #[cfg(feature = "sqlite")]
    pub(crate) fn request_refresh(&self) {
        self.refresh_requested.notify_one();
    }

    /// Returns `true` if a task runs in this process.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_watched(&self) -> bool {
        !self.lock().running.is_empty()
    }

    /// Adds the revocations of a read, and ends running tasks that they terminate.
    pub(crate) fn update(&self, rows: Vec<RevocationRow>) {
        let mut cached = self.lock();
        for RevocationRow { id, terminate, until } in rows {
            if terminate {
                for running in cached.running.get(id.as_str()).into_iter().flatten() {
                    running.terminated.cancel();
                }
            }
            cached.revoked.insert(id.into(), CachedRevocation { until, terminate });
        }
    }

    /// Records a complete read that began at this time.
    pub(crate) fn refreshed(&self, began: Instant) {
        let took = began.elapsed();
        if took >= MAX_STALENESS {
            RevocationsSlow { took, limit: MAX_STALENESS }.emit();
        }
        // This read answers a request that was made while it ran, or the task repeats the request.
        let _ = self.refresh_requested.notified().now_or_never();
        self.lock().looked_at = Some(began);
        self.refreshed.notify_waiters();
    }

    /// Removes expired revocations.
    pub(crate) fn drop_passed(&self) {
        let now = self.clock.now();
        self.lock().revoked.retain(|_, held| held.until > now);
    }
}

impl CachedRevocations {
    fn revocation(&self, id: &str, clock: &StoreClock) -> Option<Revoked> {
        let held = self.revoked.get(id)?;
        (held.until > clock.now()).then_some(Revoked { terminate: held.terminate })
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.cache.end_task(&self.id, self.number);
    }
}

/// Returns the ids, each once and sorted.
///
/// # Errors
/// Returns an error if one of them cannot be a task id.
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
    use celeriac_telemetry::clock;

    use super::*;

    fn row(id: &str, terminate: bool, until: Timestamp) -> RevocationRow {
        RevocationRow { id: id.to_owned(), terminate, until }
    }

    fn later() -> Timestamp {
        clock::now() + Duration::from_secs(60)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_begins_that_was_not_looked_up_just_before() {
        let revocations = Arc::new(RevocationCache::default());
        assert!(revocations.try_start_task("a").is_none());
        let began = Instant::now();
        revocations.refreshed(began);
        assert!(matches!(revocations.try_start_task("a"), Some(Ok(_))));
        tokio::time::advance(MAX_STALENESS).await;
        assert!(revocations.try_start_task("a").is_none());

        let begin = revocations.start_task("a");
        let look = async {
            revocations.refresh_requested().await;
            revocations.update(vec![row("a", false, later())]);
            revocations.refreshed(Instant::now());
        };
        let (begun, ()) = tokio::join!(begin, look);
        assert_eq!(begun.unwrap_err(), Revoked { terminate: false });
    }

    #[tokio::test]
    async fn a_running_task_is_ended_by_a_termination_only() {
        let revocations = Arc::new(RevocationCache::default());
        revocations.refreshed(Instant::now());
        let begun = revocations.start_task("a").await.unwrap();
        let other = revocations.start_task("b").await.unwrap();
        revocations.update(vec![row("a", false, later())]);
        assert!(!begun.terminated().is_cancelled());
        revocations.update(vec![row("a", true, later())]);
        assert!(begun.terminated().is_cancelled() && !other.terminated().is_cancelled());
        drop((begun, other));
        assert!(revocations.lock().running.is_empty());
    }

    #[tokio::test]
    async fn a_revocation_holds_until_its_end() {
        let revocations = Arc::new(RevocationCache::default());
        revocations.refreshed(Instant::now());
        revocations.update(vec![row("a", false, clock::now()), row("b", true, later())]);
        assert!(revocations.start_task("a").await.is_ok());
        assert_eq!(revocations.find_revoked("b"), Some(Revoked { terminate: true }));
        revocations.drop_passed();
        assert_eq!(revocations.lock().revoked.len(), 1);
    }
}
