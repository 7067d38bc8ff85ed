//! Outcomes in a SQLite file or in memory: the table and views of Postgres, for programs without a
//! server.
//!
//! One connection writes, and others read beside it. A wait sees a record of this process at once,
//! and a record of another process in the same file within 100 ms.

mod audit;
mod crash_log;
mod fault;
mod joins;
mod migrate;
mod read;
mod revocations;
mod run_log;
mod watch;
mod workflows;
mod write;

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::Duration;

use celeriac_protocol::Message;
use celeriac_telemetry::events::results::OutcomesNotAnnounced;
use celeriac_telemetry::{Event, clock};
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{AuditLog, AuditRecord, Operator, OperatorAction};
use crate::clock::StoreClock;
use crate::crash_log::{AttemptKey, CrashCheck, CrashCount, CrashLog, Finished};
use crate::error::{Error, Result};
use crate::health::StoreHealth;
use crate::joins::{Arrival, FiredJoin, JoinMember, Joins, NewJoin, Turn};
use crate::migration::Migration;
use crate::options::ResultsOptions;
use crate::outcomes::{Outcomes, Recorded};
use crate::record::{AttemptRecord, SentRecord, TaskRecord};
use crate::revocations::{RevocationCache, Revocations, RevokeOptions};
use crate::run_log::RunLog;
use crate::waiters::{self, Waiters};
use crate::workflows::{SavedGroup, WorkflowChord, WorkflowTask, Workflows};

const SWEEP: &str = "DELETE FROM tasks WHERE id IN (
    SELECT id FROM tasks
    WHERE finished_at < ?1 AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
    ORDER BY finished_at LIMIT ?2)";

/// Finds the rows of tasks that were due for so long, which no outcome will replace.
const SWEEP_SENT: &str = "DELETE FROM tasks WHERE id IN (
    SELECT id FROM tasks WHERE state = 'SENT' AND max(sent_at, coalesce(eta, sent_at)) < ?1
    ORDER BY sent_at LIMIT ?2)";

/// Outcomes in a SQLite file, or in memory.
#[derive(Debug)]
pub struct SqliteBackend {
    url: String,
    health: StoreHealth,
    clock: StoreClock,
    options: SqliteConnectOptions,
    writer: SqlitePool,
    readers: SqlitePool,
    waiting: Arc<Waiters>,
    watch_once: Once,
    retention: Duration,
    keep_once: Once,
    revocations: Arc<RevocationCache>,
    services: TaskTracker,
    stop: CancellationToken,
}

impl SqliteBackend {
    /// Opens or creates the file, and migrates its tables.
    ///
    /// # Errors
    /// Returns an error if the file cannot be opened, or if it is not a database.
    pub async fn connect(options: &ResultsOptions) -> Result<Self> {
        let url = options.url.masked();
        let (connect, in_memory) = place(options.url.expose())?;
        if !in_memory {
            create_private(connect.get_filename());
        }
        let connect = connect.busy_timeout(options.statement_timeout).disable_statement_logging();
        let writer = pool(options, 1).connect_lazy_with(connect.clone());
        // A database in memory lives as long as its connection and locks whole tables, so one
        // connection reads and writes.
        let readers = if in_memory {
            writer.clone()
        } else {
            pool(options, options.pool.max_connections).connect_lazy_with(connect.clone())
        };
        migrate::migrate(&url, &writer).await?;
        Ok(Self {
            health: StoreHealth::new(url.clone()),
            clock: StoreClock::default(),
            url,
            options: connect,
            writer,
            readers,
            waiting: Arc::default(),
            watch_once: Once::new(),
            retention: options.retention,
            keep_once: Once::new(),
            revocations: Arc::default(),
            services: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Returns every migration, and whether the tables of the file have it. Changes nothing.
    ///
    /// Empty for a store in memory, which each process creates anew.
    pub(crate) async fn migrations(options: &ResultsOptions) -> Result<Vec<Migration>> {
        let (connect, in_memory) = place(options.url.expose())?;
        if in_memory {
            return Ok(Vec::new());
        }
        if !connect.get_filename().exists() {
            return Ok(migrate::pending());
        }
        let connect = connect.busy_timeout(options.statement_timeout).disable_statement_logging();
        let reader = pool(options, 1).connect_lazy_with(connect.create_if_missing(false));
        let migrations = migrate::migrations(&options.url.masked(), &reader).await;
        reader.close().await;
        migrations
    }

    /// Ends the services and closes the connections.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.waiting.close();
        self.services.close();
        self.services.wait().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Returns the availability of the file.
    pub(crate) fn health(&self) -> &StoreHealth {
        &self.health
    }

    /// Returns the clock of this machine.
    pub(crate) fn clock(&self) -> &StoreClock {
        &self.clock
    }

    async fn write(&self, records: &[TaskRecord]) -> Result<Vec<Recorded>> {
        let answers = write::record(&self.writer, records).await;
        let answers = answers.map_err(|cause| fault::error(&self.url, "recording outcomes", cause))?;
        self.announce_ends(records).await;
        Ok(answers)
    }

    async fn write_sent(&self, tasks: &[SentRecord]) -> Result<()> {
        let written = write::record_sent(&self.writer, tasks).await;
        written.map_err(|cause| fault::error(&self.url, "recording sent tasks", cause))
    }

    /// Notifies the waits of this process for these tasks.
    async fn announce_ends(&self, records: &[TaskRecord]) {
        let mut ids = Vec::new();
        for record in records.iter().filter(|record| record.state.is_final()) {
            self.waiting.awaited_of(waiters::announced(&record.id), &mut ids);
        }
        if ids.is_empty() {
            return;
        }
        match self.readers.acquire().await {
            Ok(mut reader) => {
                // After an error the watcher finds the rows.
                let _ = read::ended(&mut reader, &ids, |record| self.waiting.deliver(&record)).await;
            }
            Err(error) => OutcomesNotAnnounced { error: &error.to_string() }.emit(),
        }
    }

    async fn read(&self, id: &str) -> Result<Option<TaskRecord>> {
        read::find(&self.readers, id).await.map_err(|cause| fault::error(&self.url, "reading a task", cause))
    }

    async fn read_attempts(&self, id: &str) -> Result<Vec<AttemptRecord>> {
        let read = read::attempts(&self.readers, id).await;
        read.map_err(|cause| fault::error(&self.url, "reading the attempts of a task", cause))
    }

    /// Runs a service of the store.
    fn serve(&self, service: &str, run: impl Future<Output = ()> + Send + 'static) {
        self.services.spawn(self.health().services().watch(service, run));
    }

    async fn wait(&self, id: &str) -> Result<TaskRecord> {
        self.watch_once.call_once(|| {
            let (options, waiting, stop) = (self.options.clone(), Arc::clone(&self.waiting), self.stop.clone());
            self.serve("result notifications", watch::watch(options, self.url.clone(), waiting, stop));
        });
        self.waiting.wait(id).await
    }

    async fn delete(&self, id: &str) -> Result<u64> {
        let done = sqlx::query("DELETE FROM tasks WHERE id = ?1").bind(id).execute(&self.writer).await;
        Ok(done.map_err(|cause| fault::error(&self.url, "forgetting a task", cause))?.rows_affected())
    }

    async fn delete_ended(&self, keep: Duration, at_most: u32) -> Result<u64> {
        let Ok(ended_before) = clock::now().checked_sub(keep) else { return Ok(0) };
        let sent = sqlx::query(SWEEP_SENT).bind(write::iso(ended_before)).bind(at_most);
        let done = sent.execute(&self.writer).await;
        done.map_err(|cause| fault::error(&self.url, "deleting old sent tasks", cause))?;
        let query = sqlx::query(SWEEP).bind(write::iso(ended_before)).bind(at_most);
        let done = query.execute(&self.writer).await;
        Ok(done.map_err(|cause| fault::error(&self.url, "deleting old tasks", cause))?.rows_affected())
    }
}

/// Reads the URL. Returns the options, and `true` for a database in memory.
fn place(url: &str) -> Result<(SqliteConnectOptions, bool)> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| Error::Invalid { key: "results.url".to_owned(), reason: error.to_string() })?;
    if url.contains(":memory:") {
        return Ok((options, true));
    }
    if url.ends_with("?mode=memory") {
        // SQLite shares a database in memory only under a name in the form of a URI.
        let name = format!("file:{}", options.get_filename().display());
        return Ok((options.filename(name), true));
    }
    Ok((options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal), false))
}

/// Creates the file, so that only its owner can read arguments and results in it. SQLite gives the
/// files beside it, such as the write-ahead log, the same rights.
///
/// SQLite itself reports an error: it opens the file next. An existing file is not opened here,
/// because closing it would release SQLite's locks.
fn create_private(file: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(file));
}

fn pool(options: &ResultsOptions, connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.connect_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

impl Outcomes for SqliteBackend {
    fn record<'a>(&'a self, records: &'a [TaskRecord]) -> BoxFuture<'a, Result<Vec<Recorded>>> {
        self.write(records).boxed()
    }

    fn record_sent<'a>(&'a self, tasks: &'a [SentRecord]) -> BoxFuture<'a, Result<()>> {
        self.write_sent(tasks).boxed()
    }

    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TaskRecord>>> {
        self.read(id).boxed()
    }

    fn next_attempt<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Message>>> {
        let failed = |cause| fault::error(&self.url, "reading a next attempt", cause);
        read::next_attempt(&self.readers, id).map_err(failed).boxed()
    }

    fn attempts<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<AttemptRecord>>> {
        self.read_attempts(id).boxed()
    }

    fn finished<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>> {
        self.wait(id).boxed()
    }

    fn forget<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.delete(id).map(|done| done.map(|rows| rows > 0)).boxed()
    }

    fn sweep(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        self.delete_ended(keep, at_most).boxed()
    }
}

impl Revocations for SqliteBackend {
    fn revoke<'a>(&'a self, ids: &'a [String], options: RevokeOptions) -> BoxFuture<'a, Result<()>> {
        let store = (self.url.as_str(), &self.writer);
        revocations::revoke(store, ids, options.terminate, options.lasts(self.retention), &self.revocations).boxed()
    }

    fn revocation_cache(&self) -> &Arc<RevocationCache> {
        self.keep_once.call_once(|| {
            let (url, pool, stop) = (self.url.clone(), self.readers.clone(), self.stop.clone());
            self.serve("revocations", revocations::keep(url, pool, Arc::clone(&self.revocations), stop));
        });
        &self.revocations
    }

    fn sweep_revocations(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        revocations::sweep(&self.url, &self.writer, at_most).boxed()
    }
}

impl CrashLog for SqliteBackend {
    fn count_starts<'a>(&'a self, checks: &'a [CrashCheck]) -> BoxFuture<'a, Result<Vec<CrashCount>>> {
        let failed = |cause| fault::error(&self.url, "counting crashes", cause);
        crash_log::count_starts(&self.writer, checks).map_err(failed).boxed()
    }

    fn clear_finished<'a>(&'a self, finished: &'a [Finished]) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "clearing crashes", cause);
        crash_log::clear(&self.writer, finished).map_err(failed).boxed()
    }

    fn sweep_crashes(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        let failed = |cause| fault::error(&self.url, "deleting old crashes", cause);
        crash_log::sweep(&self.writer, at_most).map_err(failed).boxed()
    }
}

impl RunLog for SqliteBackend {
    fn renew_run<'a>(&'a self, attempt: &'a AttemptKey, worker: &'a str, lease: Duration) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "recording a run", cause);
        run_log::renew(&self.writer, attempt, worker, lease).map_err(failed).boxed()
    }

    fn find_run<'a>(&'a self, attempt: &'a AttemptKey) -> BoxFuture<'a, Result<Option<String>>> {
        let failed = |cause| fault::error(&self.url, "reading a run", cause);
        run_log::find(&self.readers, attempt).map_err(failed).boxed()
    }

    fn end_run<'a>(&'a self, attempt: &'a AttemptKey, worker: &'a str) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "removing a run", cause);
        run_log::end(&self.writer, attempt, worker).map_err(failed).boxed()
    }

    fn sweep_runs(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        let failed = |cause| fault::error(&self.url, "deleting old runs", cause);
        run_log::sweep(&self.writer, at_most).map_err(failed).boxed()
    }
}

impl AuditLog for SqliteBackend {
    fn begin_action<'a>(&'a self, operator: &'a Operator, action: &'a OperatorAction) -> BoxFuture<'a, Result<i64>> {
        let failed = |cause| fault::error(&self.url, "writing an audit row", cause);
        audit::begin(&self.writer, operator, action).map_err(failed).boxed()
    }

    fn end_action<'a>(&'a self, number: i64, count: u64, error: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "completing an audit row", cause);
        audit::end(&self.writer, number, count, error).map_err(failed).boxed()
    }

    fn actions(&self, open: bool, at_most: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>>> {
        let failed = |cause| fault::error(&self.url, "reading the audit log", cause);
        audit::actions(&self.writer, open, at_most).map_err(failed).boxed()
    }

    fn sweep_audit(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        let failed = |cause| fault::error(&self.url, "deleting old audit rows", cause);
        audit::sweep(&self.writer, keep, at_most).map_err(failed).boxed()
    }
}

impl Joins for SqliteBackend {
    fn add_join<'a>(&'a self, join: &'a NewJoin) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "adding a join", cause);
        joins::add(&self.writer, join).map_err(failed).boxed()
    }

    fn touch_join<'a>(&'a self, id: &'a str, sent: u64, patience: Option<Duration>) -> BoxFuture<'a, Result<bool>> {
        let failed = |cause| fault::error(&self.url, "keeping a join open", cause);
        joins::touch(&self.writer, id, sent, patience).map_err(failed).boxed()
    }

    fn overdue_joins(&self, at_most: u32) -> BoxFuture<'_, Result<Vec<String>>> {
        let failed = |cause| fault::error(&self.url, "finding overdue joins", cause);
        joins::overdue(&self.readers, at_most).map_err(failed).boxed()
    }

    fn end_overdue_join<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "ending a join", cause);
        joins::end_overdue(&self.writer, id).map_err(failed).boxed()
    }

    fn give_up_join<'a>(&'a self, id: &'a str, error: &'a str) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "giving up a join", cause);
        joins::give_up(&self.writer, id, error).map_err(failed).boxed()
    }

    fn record_arrivals<'a>(&'a self, arrivals: &'a [Arrival]) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "recording arrivals", cause);
        joins::record_arrivals(&self.writer, arrivals).map_err(failed).boxed()
    }

    fn fire<'a>(&'a self, members: &'a [JoinMember]) -> BoxFuture<'a, Result<Vec<Turn>>> {
        let failed = |cause| fault::error(&self.url, "firing joins", cause);
        joins::fire(&self.writer, members).map_err(failed).boxed()
    }

    fn find_fired<'a>(&'a self, id: &'a str, largest: usize) -> BoxFuture<'a, Result<Option<FiredJoin>>> {
        let failed = |cause| fault::error(&self.url, "reading a join", cause);
        joins::find_fired(&self.readers, id, largest).map_err(failed).boxed()
    }

    fn sweep_joins(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        let failed = |cause| fault::error(&self.url, "deleting old joins", cause);
        joins::sweep(&self.writer, keep, at_most).map_err(failed).boxed()
    }
}

impl Workflows for SqliteBackend {
    fn workflow<'a>(&'a self, id: &'a str, at_most: u32) -> BoxFuture<'a, Result<Vec<WorkflowTask>>> {
        let failed = |cause| fault::error(&self.url, "reading a workflow", cause);
        workflows::workflow(&self.readers, id, at_most).map_err(failed).boxed()
    }

    fn chords<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<WorkflowChord>>> {
        let failed = |cause| fault::error(&self.url, "reading chords", cause);
        workflows::chords(&self.readers, groups).map_err(failed).boxed()
    }

    fn save_group<'a>(&'a self, group: &'a SavedGroup) -> BoxFuture<'a, Result<()>> {
        let failed = |cause| fault::error(&self.url, "saving a group", cause);
        workflows::save(&self.writer, group).map_err(failed).boxed()
    }

    fn find_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<SavedGroup>>> {
        let failed = |cause| fault::error(&self.url, "reading a group", cause);
        workflows::find(&self.readers, id).map_err(failed).boxed()
    }

    fn sweep_groups(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        let failed = |cause| fault::error(&self.url, "deleting old groups", cause);
        workflows::sweep(&self.writer, keep, at_most).map_err(failed).boxed()
    }
}

impl Drop for SqliteBackend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
