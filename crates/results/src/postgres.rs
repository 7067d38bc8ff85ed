//! Outcomes in Postgres: schema `celeriac`, table `tasks`.

mod audit;
#[cfg(target_os = "linux")]
mod bridge;
#[cfg(not(target_os = "linux"))]
mod bridge {
    //! There are no abstract sockets here: the driver connects by itself.

    pub(super) async fn open(
        _: &super::server::PostgresServer,
        host: sqlx::postgres::PgConnectOptions,
    ) -> std::io::Result<sqlx::postgres::PgConnectOptions> {
        Ok(host)
    }
}
mod clock;
mod crash_log;
mod failover;
mod fault;
pub mod idempotency;
mod identity;
mod joins;
mod leases;
mod listen;
mod logs;
mod migrate;
mod notification;
pub mod outbox;
pub mod overdue;
mod pool;
mod pooler;
mod read;
pub mod relay;
pub mod retention;
pub mod retry;
mod revocations;
mod rollups;
mod run_log;
mod sent;
mod server;
mod server_time;
#[cfg(target_os = "linux")]
mod silence;
mod time;
mod tls;
pub mod transaction;
mod workflows;
mod write;

use std::sync::{Arc, Once};
use std::time::Duration;

use celeriac_protocol::Message;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::idempotency::Idempotency;
use self::listen::Listening;
use self::notification::OutcomeSeal;
use self::overdue::OverdueRetries;
use self::pool::PostgresPool;
use self::relay::Outbox;
use self::retention::{PruneFilter, SweptTo};
use self::retry::FailedTask;
use self::server::PostgresServer;
use self::transaction::Transactions;
use crate::audit::{AuditLog, AuditRecord, Operator, OperatorAction};
use crate::clock::StoreClock;
use crate::cookbook::{CookbookQuery, QueryParameter};
use crate::crash_log::{AttemptKey, CrashCheck, CrashCount, CrashLog, Finished};
use crate::error::Result;
use crate::health::StoreHealth;
use crate::joins::{Arrival, FiredJoin, JoinMember, Joins, NewJoin, Turn};
use crate::last_error::LastError;
use crate::migration::Migration;
use crate::options::{ResultsOptions, RetentionRule, StatsOptions};
use crate::outcomes::{Outcomes, Recorded};
use crate::record::{AttemptLog, AttemptRecord, SentRecord, TaskRecord};
use crate::revocations::{RevocationCache, Revocations, RevokeOptions};
use crate::run_log::RunLog;
use crate::task_end::TaskEnd;
use crate::waiters::Waiters;
use crate::workflows::{SavedGroup, WorkflowChord, WorkflowTask, Workflows};

/// Outcomes in Postgres.
#[derive(Debug)]
pub struct PostgresBackend {
    server: PostgresServer,
    connections: PostgresPool,
    transactions: Transactions,
    outbox: Outbox,
    overdue_retries: OverdueRetries,
    idempotency: Idempotency,
    listen_once: Once,
    waiting: Arc<Waiters>,
    seal: Arc<OutcomeSeal>,
    retention: Duration,
    retention_rules: Vec<RetentionRule>,
    swept: Mutex<SweptTo>,
    /// This process, as `celeriac.leases` names it.
    holder: String,
    keep_once: Once,
    revocations: Arc<RevocationCache>,
    services: TaskTracker,
    stop: CancellationToken,
}

impl PostgresBackend {
    /// Connects, and creates or migrates the tables. `last_error` keeps the error of each failed
    /// attempt to connect.
    ///
    /// # Errors
    /// Returns an error if the server cannot be reached within the connect timeout, if it refuses,
    /// or if it is a pooler that gives each transaction another session.
    pub async fn connect(options: &ResultsOptions, last_error: LastError) -> Result<Self> {
        let server = PostgresServer::new(options, last_error)?;
        let connections = PostgresPool::new(server.clone(), options.pool.max_connections);
        connections.refuse_pooler().await?;
        migrate::migrate(&connections).await?;
        if options.logs.is_some() {
            logs::check_encoding(&connections).await?;
        }
        let seal = Arc::new(OutcomeSeal::read(&connections).await?);
        let outbox = Outbox::new(server.clone(), connections.clone());
        let overdue_retries = OverdueRetries::new(connections.clone());
        let idempotency = Idempotency::new(connections.clone(), options.retention);
        let transactions = Transactions::new(&connections, options);
        let revocations = Arc::new(RevocationCache::new(server.clock().clone()));
        let backend = Self {
            server,
            connections,
            transactions,
            outbox,
            overdue_retries,
            idempotency,
            listen_once: Once::new(),
            waiting: Arc::default(),
            seal,
            retention: options.retention,
            retention_rules: options.retention_rules.clone(),
            swept: Mutex::default(),
            holder: format!("{:016x}", fastrand::u64(..)),
            keep_once: Once::new(),
            revocations,
            services: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        backend.serve("clock", clock::keep(backend.connections.clone(), backend.stop.clone()));
        Ok(backend)
    }

    /// Returns every migration, and whether the tables have it. Changes nothing.
    pub(crate) async fn migrations(options: &ResultsOptions, last_error: LastError) -> Result<Vec<Migration>> {
        let server = PostgresServer::new(options, last_error)?;
        let connections = PostgresPool::new(server.clone(), 1);
        let migrations = migrate::migrations(&connections).await;
        connections.close().await;
        server.close().await;
        migrations
    }

    /// Ends the services and closes the connections.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.waiting.close();
        self.services.close();
        self.services.wait().await;
        self.transactions.close().await;
        self.connections.close().await;
        self.server.close().await;
    }

    /// Returns the availability of the server.
    pub(crate) fn health(&self) -> &StoreHealth {
        self.server.health()
    }

    /// Returns the clock of the server.
    pub(crate) fn clock(&self) -> &StoreClock {
        self.server.clock()
    }

    /// Runs a service of the store.
    fn serve(&self, service: &str, run: impl Future<Output = ()> + Send + 'static) {
        self.services.spawn(self.health().services().watch(service, run));
    }

    /// Returns the waits, which one connection serves from the first one on.
    fn waiting(&self) -> &Waiters {
        self.listen_once.call_once(|| {
            let listening = Listening::new(self.server.clone());
            let (waiting, seal, stop) = (Arc::clone(&self.waiting), Arc::clone(&self.seal), self.stop.clone());
            self.serve("result notifications", listen::listen(listening, waiting, seal, stop));
        });
        &self.waiting
    }

    async fn delete(&self, id: &str) -> Result<u64> {
        let mut lease = self.connections.lease().await?;
        let query = sqlx::query("DELETE FROM celeriac.tasks WHERE id = $1").bind(id);
        let answer = self.connections.within(query.execute(&mut lease.connection)).await;
        let done = lease.conclude(answer).map_err(|cause| self.connections.error("forgetting a task", cause))?;
        Ok(done.rows_affected())
    }

    async fn delete_ended(&self, keep: Duration, at_most: u32) -> Result<u64> {
        let query = sqlx::query(retention::SWEEP_ENDED).bind(keep.as_secs_f64()).bind(i64::from(at_most));
        let deleted = self.sweep_with("deleting old tasks", query).await?;
        self.delete_unended(keep, at_most).await?;
        Ok(deleted)
    }

    /// Deletes sent tasks whose outcome never came, and expired idempotency keys.
    async fn delete_unended(&self, keep: Duration, at_most: u32) -> Result<()> {
        let sent = || sqlx::query(sent::SWEEP).bind(keep.as_secs_f64()).bind(i64::from(at_most));
        while !keep.is_zero() && self.sweep_with("deleting old sent tasks", sent()).await? == u64::from(at_most) {}
        let keys = || sqlx::query(idempotency::SWEEP).bind(i64::from(at_most));
        while self.sweep_with("deleting old idempotency keys", keys()).await? == u64::from(at_most) {}
        Ok(())
    }

    async fn sweep_with(&self, doing: &'static str, query: Query<'static, Postgres, PgArguments>) -> Result<u64> {
        let mut lease = self.connections.lease().await?;
        let answer = self.connections.within(query.execute(&mut lease.connection)).await;
        let done = lease.conclude(answer).map_err(|cause| self.connections.error(doing, cause))?;
        Ok(done.rows_affected())
    }
}

/// The parts that no other store has.
impl PostgresBackend {
    /// Returns the transactions for tasks.
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Returns the outbox, which holds the tasks that were sent in a transaction.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Runs a query of the cookbook. Returns each row as a JSON object, its columns in order.
    ///
    /// # Errors
    /// Returns an error if the query lacks a parameter, if the database cannot be reached, or if it
    /// refuses.
    pub async fn query(&self, query: &CookbookQuery, given: &[(QueryParameter, String)]) -> Result<Vec<String>> {
        read::query(&self.connections, query, given).await
    }

    /// Returns the log lines of each attempt of a task, in order. Empty unless `results.logs` keeps
    /// them.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn logs(&self, id: &str) -> Result<Vec<AttemptLog>> {
        logs::logs(&self.connections, id).await
    }

    /// Returns the tasks whose next attempt is overdue.
    pub fn overdue_retries(&self) -> &OverdueRetries {
        &self.overdue_retries
    }

    /// Returns the tasks that failed within this time, the earliest first.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn failed(&self, since: Duration) -> Result<Vec<FailedTask>> {
        retry::failed(&self.connections, since).await
    }

    /// Sends tasks that ended without success anew, all of them or none, with one audit row.
    /// Returns the reason if one of them cannot be retried.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn retry(&self, operator: &Operator, ids: &[String]) -> Result<Option<String>> {
        retry::retry(&self.connections, operator, ids).await
    }

    /// Returns `true` if some tasks or states have a retention time of their own.
    pub(crate) fn has_retention_rules(&self) -> bool {
        !self.retention_rules.is_empty()
    }

    /// Deletes the rows whose time is over by the rules, and expired idempotency keys. Returns the
    /// number of tasks.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    #[doc(hidden)]
    pub async fn sweep_by_rules(&self) -> Result<u64> {
        let mut swept = self.swept.lock().await;
        let deleted = retention::sweep(&self.connections, self.retention, &self.retention_rules, &mut swept).await?;
        self.delete_unended(self.retention, 1_000).await?;
        Ok(deleted)
    }

    /// Returns the number of ended tasks that match.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn count_old(&self, filter: &PruneFilter) -> Result<u64> {
        retention::count(&self.connections, filter).await
    }

    /// Deletes at most `at_most` of the ended tasks that match, the oldest first, with their
    /// attempts. Returns their number.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn prune(&self, filter: &PruneFilter, at_most: u32) -> Result<u64> {
        retention::prune(&self.connections, filter, at_most).await
    }

    /// Returns `true` if this process does the work of sweeping for this time, and no other one.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    #[doc(hidden)]
    pub async fn claim_sweep(&self, lease: Duration) -> Result<bool> {
        leases::claim(&self.connections, "sweep", &self.holder, lease).await
    }

    /// Returns `true` if this process looks for overdue joins, for this time from now on.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    #[doc(hidden)]
    pub async fn claim_joins(&self, lease: Duration) -> Result<bool> {
        leases::claim(&self.connections, "joins", &self.holder, lease).await
    }

    /// Adds counts of outcomes up to longer intervals, and deletes those that are too old, by the
    /// clock of the database. Each statement takes at most `at_most` rows.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    #[doc(hidden)]
    pub async fn compact_stats(&self, keep: &StatsOptions, at_most: u32) -> Result<()> {
        rollups::compact(&self.connections, keep, at_most).await
    }

    /// Returns the time in which each queue with so many ready messages drains, at the rate of the
    /// last minute. `None` if no attempt ended in it.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    #[doc(hidden)]
    pub async fn expected_waits(&self, queues: &[(Arc<str>, u32)]) -> Result<Vec<Option<Duration>>> {
        rollups::expected_waits(&self.connections, queues).await
    }

    /// Returns the idempotency keys.
    pub fn idempotency(&self) -> &Idempotency {
        &self.idempotency
    }
}

impl Outcomes for PostgresBackend {
    fn record<'a>(&'a self, records: &'a [TaskRecord]) -> BoxFuture<'a, Result<Vec<Recorded>>> {
        write::record(&self.connections, &self.seal, records).boxed()
    }

    fn record_sent<'a>(&'a self, tasks: &'a [SentRecord]) -> BoxFuture<'a, Result<()>> {
        sent::record(&self.connections, tasks).boxed()
    }

    fn announce(&self, ends: Vec<TaskEnd>) -> BoxFuture<'_, Result<()>> {
        write::announce(&self.connections, &self.seal, ends).boxed()
    }

    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TaskRecord>>> {
        read::find(&self.connections, id).boxed()
    }

    fn next_attempt<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Message>>> {
        read::next_attempt(&self.connections, id).boxed()
    }

    fn attempts<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<AttemptRecord>>> {
        read::attempts(&self.connections, id).boxed()
    }

    fn finished<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>> {
        self.waiting().wait(id).boxed()
    }

    fn outcome<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>> {
        self.waiting().wait_for_outcome(id).boxed()
    }

    fn has_row<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.waiting().wait_for_presence(id).boxed()
    }

    fn forget<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.delete(id).map(|done| done.map(|rows| rows > 0)).boxed()
    }

    fn sweep(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        self.delete_ended(keep, at_most).boxed()
    }
}

impl Revocations for PostgresBackend {
    fn revoke<'a>(&'a self, ids: &'a [String], options: RevokeOptions) -> BoxFuture<'a, Result<()>> {
        revocations::revoke(&self.connections, ids, options.terminate, options.lasts(self.retention)).boxed()
    }

    fn revocation_cache(&self) -> &Arc<RevocationCache> {
        self.keep_once.call_once(|| {
            let (listening, stop) = (Listening::new(self.server.clone()), self.stop.clone());
            self.serve("revocations", revocations::keep(listening, Arc::clone(&self.revocations), stop));
        });
        &self.revocations
    }

    fn sweep_revocations(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        revocations::sweep(&self.connections, at_most).boxed()
    }
}

impl CrashLog for PostgresBackend {
    fn count_starts<'a>(&'a self, checks: &'a [CrashCheck]) -> BoxFuture<'a, Result<Vec<CrashCount>>> {
        crash_log::count_starts(&self.connections, checks).boxed()
    }

    fn clear_finished<'a>(&'a self, finished: &'a [Finished]) -> BoxFuture<'a, Result<()>> {
        crash_log::clear(&self.connections, finished).boxed()
    }

    fn sweep_crashes(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        crash_log::sweep(&self.connections, at_most).boxed()
    }
}

impl RunLog for PostgresBackend {
    fn renew_run<'a>(&'a self, attempt: &'a AttemptKey, worker: &'a str, lease: Duration) -> BoxFuture<'a, Result<()>> {
        run_log::renew(&self.connections, attempt, worker, lease).boxed()
    }

    fn find_run<'a>(&'a self, attempt: &'a AttemptKey) -> BoxFuture<'a, Result<Option<String>>> {
        run_log::find(&self.connections, attempt).boxed()
    }

    fn end_run<'a>(&'a self, attempt: &'a AttemptKey, worker: &'a str) -> BoxFuture<'a, Result<()>> {
        run_log::end(&self.connections, attempt, worker).boxed()
    }

    fn sweep_runs(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        run_log::sweep(&self.connections, at_most).boxed()
    }
}

impl AuditLog for PostgresBackend {
    fn begin_action<'a>(&'a self, operator: &'a Operator, action: &'a OperatorAction) -> BoxFuture<'a, Result<i64>> {
        audit::begin(&self.connections, operator, action).boxed()
    }

    fn end_action<'a>(&'a self, number: i64, count: u64, error: Option<&'a str>) -> BoxFuture<'a, Result<()>> {
        audit::end(&self.connections, number, count, error).boxed()
    }

    fn actions(&self, open: bool, at_most: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>>> {
        audit::actions(&self.connections, open, at_most).boxed()
    }

    fn sweep_audit(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        audit::sweep(&self.connections, keep, at_most).boxed()
    }
}

impl Joins for PostgresBackend {
    fn add_join<'a>(&'a self, join: &'a NewJoin) -> BoxFuture<'a, Result<()>> {
        joins::add(&self.connections, join).boxed()
    }

    fn touch_join<'a>(&'a self, id: &'a str, sent: u64, patience: Option<Duration>) -> BoxFuture<'a, Result<bool>> {
        joins::touch(&self.connections, id, sent, patience).boxed()
    }

    fn overdue_joins(&self, at_most: u32) -> BoxFuture<'_, Result<Vec<String>>> {
        joins::overdue(&self.connections, at_most).boxed()
    }

    fn end_overdue_join<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        joins::end_overdue(&self.connections, id).boxed()
    }

    fn give_up_join<'a>(&'a self, id: &'a str, error: &'a str) -> BoxFuture<'a, Result<()>> {
        joins::give_up(&self.connections, id, error).boxed()
    }

    fn record_arrivals<'a>(&'a self, arrivals: &'a [Arrival]) -> BoxFuture<'a, Result<()>> {
        joins::record_arrivals(&self.connections, arrivals).boxed()
    }

    fn fire<'a>(&'a self, members: &'a [JoinMember]) -> BoxFuture<'a, Result<Vec<Turn>>> {
        joins::fire(&self.connections, members).boxed()
    }

    fn find_fired<'a>(&'a self, id: &'a str, largest: usize) -> BoxFuture<'a, Result<Option<FiredJoin>>> {
        joins::find_fired(&self.connections, id, largest).boxed()
    }

    fn sweep_joins(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        joins::sweep(&self.connections, keep, at_most).boxed()
    }
}

impl Workflows for PostgresBackend {
    fn workflow<'a>(&'a self, id: &'a str, at_most: u32) -> BoxFuture<'a, Result<Vec<WorkflowTask>>> {
        workflows::workflow(&self.connections, id, at_most).boxed()
    }

    fn chords<'a>(&'a self, groups: &'a [String]) -> BoxFuture<'a, Result<Vec<WorkflowChord>>> {
        workflows::chords(&self.connections, groups).boxed()
    }

    fn save_group<'a>(&'a self, group: &'a SavedGroup) -> BoxFuture<'a, Result<()>> {
        workflows::save(&self.connections, group).boxed()
    }

    fn find_group<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<SavedGroup>>> {
        workflows::find(&self.connections, id).boxed()
    }

    fn sweep_groups(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        workflows::sweep(&self.connections, keep, at_most).boxed()
    }
}

impl Drop for PostgresBackend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
