//! Transactions in which tasks run, and which end with the outcome of their task.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::time::timeout;

use super::outbox::{self, OutboxMessage};
use super::pool::{Lease, PostgresPool};
use super::{fault, write};
use crate::error::{Error, Result};
use crate::exact;
use crate::options::ResultsOptions;
use crate::record::TaskRecord;

/// The fate of a transaction that was to be committed together with the outcome of its task.
#[derive(Debug)]
pub enum Committed {
    /// Outcome and effects stand.
    Stored,
    /// The task had come to an end already. Nothing of this run stands.
    Superseded,
    /// The store cannot hold the outcome, now or ever. Nothing stands.
    Refused {
        /// The reason.
        reason: String,
    },
    /// The work of the task cannot be committed. Nothing stands, unless the task committed it itself.
    Invalid {
        /// The reason.
        reason: String,
    },
    /// The store could not take it for now. Nothing stands.
    Failed(Error),
    /// The store was lost while it committed: everything stands, or nothing does.
    Unknown(Error),
}

/// The longest that a rollback may take: the server rolls back as well when the connection is closed instead.
const ROLLBACK: Duration = Duration::from_secs(1);

/// The transactions of a store, each on a connection of its own.
#[derive(Debug)]
pub struct Transactions {
    connections: PostgresPool,
    begun: AtomicU64,
}

/// A connection on loan to one task. Dropped before [`Session::end`], it is closed.
#[derive(Debug)]
pub struct Session {
    lease: Lease,
    connections: PostgresPool,
    name: String,
    /// True if nothing is open on it, or still to come.
    clean: bool,
}

/// A transaction on loan to a task. Dropped, it is rolled back.
#[derive(Debug)]
pub struct Transaction<'a> {
    inner: sqlx::Transaction<'a, Postgres>,
    connections: &'a PostgresPool,
    /// A setting that lasts as long as the transaction: it is gone when the task ended that by hand.
    name: &'a str,
    clean: &'a mut bool,
}

impl Transactions {
    pub(super) fn new(connections: &PostgresPool, options: &ResultsOptions) -> Self {
        // A server of version 14 or later notices in the middle of a statement that nobody waits for it any more.
        let session = format!(
            "SET idle_in_transaction_session_timeout = {};
             SELECT set_config('client_connection_check_interval', '2s', false)
             WHERE current_setting('server_version_num')::int >= 140000",
            options.transaction_idle_timeout.as_millis()
        );
        Self { connections: connections.apart(options.pool.transactions, &session), begun: AtomicU64::default() }
    }

    /// Returns a connection for one transaction, waited for within the connect timeout.
    ///
    /// # Errors
    /// When none becomes free by then, or the database cannot be reached.
    pub async fn session(&self) -> Result<Session> {
        let lease = self.connections.lease().await?;
        let name = self.begun.fetch_add(1, Ordering::Relaxed).to_string();
        Ok(Session { lease, connections: self.connections.clone(), name, clean: false })
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

impl Session {
    /// Begins the transaction.
    ///
    /// # Errors
    /// When the database is lost or refuses.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        let Self { lease, connections, name, clean } = self;
        let begin = AssertSqlSafe(format!("BEGIN; SET LOCAL celeriac.transaction = '{name}'"));
        let begun = connections.within(lease.connection.begin_with(begin)).await;
        let inner = begun.map_err(|cause| connections.error("beginning a transaction", cause))?;
        Ok(Transaction { inner, connections, name, clean })
    }

    /// Gives the connection back, where it is still of use.
    pub fn end(self) {
        if self.clean && !self.lease.connection.is_in_transaction() {
            let _ = self.lease.conclude(Ok(()));
        }
    }
}

impl Transaction<'_> {
    /// Records how the task ended, puts what follows from it into the outbox, and commits both together with everything that
    /// was done in the transaction.
    ///
    /// The record gives way as [`Outcomes::record`](crate::Outcomes::record) says, and a success also to any other end.
    pub async fn commit(mut self, record: &TaskRecord, follow_ups: &[OutboxMessage]) -> Committed {
        if let Some(reason) = exact::refusal(record) {
            self.rollback().await;
            return Committed::Refused { reason: reason.to_owned() };
        }
        let recorded = write::record_in(&mut self.inner, self.name, record);
        match self.connections.within(recorded).await {
            Ok(true) if follow_ups.is_empty() => self.finish().await,
            Ok(true) => match outbox::add(&mut self.inner, follow_ups).await {
                Ok(()) => self.finish().await,
                Err(error) => {
                    self.rollback().await;
                    Committed::Failed(error)
                }
            },
            Ok(false) => self.defer_to_recorded().await,
            Err(cause) => match fault::refusal(&cause) {
                Some(reason) => {
                    self.rollback().await;
                    Committed::Refused { reason }
                }
                None => self.fail(cause).await,
            },
        }
    }

    /// Undoes what was done in it. Where that takes too long the connection is closed, and the server does it.
    pub async fn rollback(self) {
        let Self { inner, clean, .. } = self;
        *clean = matches!(timeout(ROLLBACK, inner.rollback()).await, Ok(Ok(())));
    }

    async fn finish(self) -> Committed {
        let Self { inner, connections, clean, .. } = self;
        match connections.within(inner.commit()).await {
            Ok(()) => {
                *clean = true;
                Committed::Stored
            }
            Err(cause) if fault::is_lost(&cause) => Committed::Unknown(connections.error("committing", cause)),
            Err(cause) => match fault::refusal(&cause) {
                // A constraint that is looked at only now.
                Some(reason) => Committed::Invalid { reason },
                None => Committed::Failed(connections.error("committing", cause)),
            },
        }
    }

    /// The outcome was not written: something better stands, or this is the task's transaction no longer.
    async fn defer_to_recorded(mut self) -> Committed {
        let setting = sqlx::query_scalar("SELECT coalesce(current_setting('celeriac.transaction', true), '') = $1");
        let setting = setting.bind(self.name).fetch_one(&mut *self.inner);
        match self.connections.within(setting).await {
            Ok(true) => {
                self.rollback().await;
                Committed::Superseded
            }
            Ok(false) => {
                self.rollback().await;
                invalid("the task ended its transaction by itself, which is for the worker to do")
            }
            Err(cause) => self.fail(cause).await,
        }
    }

    async fn fail(self, cause: sqlx::Error) -> Committed {
        let went_on = cause.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "25P02");
        let error = self.connections.error("committing", cause);
        self.rollback().await;
        if went_on { invalid("a statement in it failed, and the task went on") } else { Committed::Failed(error) }
    }
}

fn invalid(reason: &str) -> Committed {
    Committed::Invalid { reason: reason.to_owned() }
}

impl Deref for Transaction<'_> {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}
