//! Outcomes in Postgres: schema `celeriac`, table `tasks`.

#[cfg(target_os = "linux")]
mod bridge;
mod connections;
mod fault;
pub(crate) mod idempotency;
mod listen;
mod migrate;
pub(crate) mod outbox;
mod read;
pub(crate) mod relay;
mod revocations;
mod suspects;
mod time;
mod transaction;
mod write;

use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Postgres};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connections::Connections;
use self::idempotency::Idempotency;
use self::listen::Listening;
use self::relay::Outbox;
use self::time::Time;
pub use self::transaction::{Session, Transaction, Transactions};
use super::waiting::Waiting;
use crate::backend::{Backend, Recorded};
use crate::error::{Error, Result};
use crate::options::ResultsOptions;
use crate::record::{AttemptRecord, TaskRecord};
use crate::revocations::{Revocations, Revoke};
use crate::suspects::{Cleared, Suspect, Suspicion};

const SWEEP: &str = "DELETE FROM celeriac.tasks WHERE id IN (
    SELECT id FROM celeriac.tasks
    WHERE finished_at < $1 AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
    ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Outcomes in Postgres.
#[derive(Debug)]
pub struct PostgresBackend {
    connections: Connections,
    transactions: Transactions,
    outbox: Outbox,
    idempotency: Idempotency,
    listening: Listening,
    listen_once: Once,
    waiting: Arc<Waiting>,
    keep: Duration,
    keep_once: Once,
    revocations: Arc<Revocations>,
    services: TaskTracker,
    stop: CancellationToken,
}

impl PostgresBackend {
    /// Connects, and makes the tables or brings them up to date.
    ///
    /// # Errors
    /// When the server cannot be reached within the connect timeout, or refuses.
    pub async fn connect(options: &ResultsOptions) -> Result<Self> {
        let url = options.url.masked();
        let connect = PgConnectOptions::from_str(options.url.expose())
            .map_err(|error| Error::Invalid { key: "results.url".to_owned(), reason: error.to_string() })?
            .application_name("celeriac")
            .disable_statement_logging();
        let timeouts = (options.connect_timeout, options.statement_timeout);
        let connections = Connections::new(connect.clone(), url.clone(), options.pool.connections, timeouts);
        migrate::migrate(&connections).await?;
        let (connect_timeout, statement_timeout) = timeouts;
        let listening = Listening { options: connect, url, connect_timeout, statement_timeout };
        let outbox = Outbox::new(listening.clone(), connections.clone());
        let idempotency = Idempotency::new(connections.clone(), options.keep);
        let transactions = Transactions::new(&connections, options);
        Ok(Self {
            connections,
            transactions,
            outbox,
            idempotency,
            listening,
            listen_once: Once::new(),
            waiting: Arc::default(),
            keep: options.keep,
            keep_once: Once::new(),
            revocations: Arc::default(),
            services: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    async fn wait(&self, id: &str) -> Result<TaskRecord> {
        self.listen_once.call_once(|| {
            let (listening, waiting, stop) = (self.listening.clone(), Arc::clone(&self.waiting), self.stop.clone());
            self.services.spawn(listen::listen(listening, waiting, stop));
        });
        self.waiting.wait(id).await
    }

    async fn delete(&self, id: &str) -> Result<u64> {
        let mut lease = self.connections.lease().await?;
        let query = sqlx::query("DELETE FROM celeriac.tasks WHERE id = $1").bind(id);
        let answer = self.connections.within(query.execute(&mut lease.connection)).await;
        let done = lease.conclude(answer).map_err(|cause| self.connections.error("forgetting a task", cause))?;
        Ok(done.rows_affected())
    }

    async fn delete_ended(&self, ended_before: Timestamp, at_most: u32) -> Result<u64> {
        let query = sqlx::query(SWEEP).bind(Time(ended_before)).bind(i64::from(at_most));
        let deleted = self.sweep_with("deleting old tasks", query).await?;
        let keys = || sqlx::query(idempotency::SWEEP).bind(i64::from(at_most));
        while self.sweep_with("deleting old idempotency keys", keys()).await? == u64::from(at_most) {}
        Ok(deleted)
    }

    async fn sweep_with(&self, doing: &'static str, query: Query<'static, Postgres, PgArguments>) -> Result<u64> {
        let mut lease = self.connections.lease().await?;
        let answer = self.connections.within(query.execute(&mut lease.connection)).await;
        let done = lease.conclude(answer).map_err(|cause| self.connections.error(doing, cause))?;
        Ok(done.rows_affected())
    }
}

impl Backend for PostgresBackend {
    fn record<'a>(&'a self, records: &'a [TaskRecord]) -> BoxFuture<'a, Result<Vec<Recorded>>> {
        write::record(&self.connections, records).boxed()
    }

    fn announce<'a>(&'a self, ids: &'a [String]) -> BoxFuture<'a, Result<()>> {
        write::announce(&self.connections, ids).boxed()
    }

    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TaskRecord>>> {
        read::find(&self.connections, id).boxed()
    }

    fn attempts<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<AttemptRecord>>> {
        read::attempts(&self.connections, id).boxed()
    }

    fn finished<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>> {
        self.wait(id).boxed()
    }

    fn forget<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        self.delete(id).map(|done| done.map(|rows| rows > 0)).boxed()
    }

    fn sweep(&self, ended_before: Timestamp, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        self.delete_ended(ended_before, at_most).boxed()
    }

    fn transactions(&self) -> Option<&Transactions> {
        Some(&self.transactions)
    }

    fn revoke<'a>(&'a self, ids: &'a [String], revoke: Revoke) -> BoxFuture<'a, Result<()>> {
        revocations::revoke(&self.connections, ids, revoke.terminate, revoke.lasts(self.keep)).boxed()
    }

    fn revocations(&self) -> &Arc<Revocations> {
        self.keep_once.call_once(|| {
            let (listening, stop) = (self.listening.clone(), self.stop.clone());
            self.services.spawn(revocations::keep(listening, Arc::clone(&self.revocations), stop));
        });
        &self.revocations
    }

    fn suspect<'a>(&'a self, suspects: &'a [Suspect]) -> BoxFuture<'a, Result<Vec<Suspicion>>> {
        suspects::suspect(&self.connections, suspects).boxed()
    }

    fn clear<'a>(&'a self, cleared: &'a [Cleared]) -> BoxFuture<'a, Result<()>> {
        suspects::clear(&self.connections, cleared).boxed()
    }

    fn sweep_passed(&self, at_most: u32) -> BoxFuture<'_, Result<u64>> {
        async move {
            let revocations = revocations::sweep(&self.connections, at_most).await?;
            Ok(revocations.max(suspects::sweep(&self.connections, at_most).await?))
        }
        .boxed()
    }

    fn outbox(&self) -> Option<&Outbox> {
        Some(&self.outbox)
    }

    fn idempotency(&self) -> Option<&Idempotency> {
        Some(&self.idempotency)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.stop.cancel();
            self.waiting.close();
            self.services.close();
            self.services.wait().await;
            self.transactions.close().await;
            self.connections.close().await;
        }
        .boxed()
    }
}

impl Drop for PostgresBackend {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
