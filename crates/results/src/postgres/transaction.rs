//! Transactions in which tasks run, and which end with the outcome of their task.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Postgres};
use tokio::time::timeout;

use super::outbox::{self, OutboxMessage};
use super::pool::{Lease, PostgresPool};
use super::{fault, joins, write};
use crate::error::{Error, Result};
use crate::exact;
use crate::joins::NewJoin;
use crate::options::ResultsOptions;
use crate::record::TaskRecord;

/// The result of committing a transaction with the outcome of its task.
#[derive(Debug)]
pub enum Committed {
    /// Outcome and effects are committed.
    Stored,
    /// The task had ended already. Nothing of this run is committed.
    Superseded,
    /// The store can never hold the outcome. Nothing is committed.
    Refused {
        /// The reason.
        reason: String,
    },
    /// The work of the task cannot be committed. Nothing is committed, unless the task itself has
    /// committed.
    Invalid {
        /// The reason.
        reason: String,
    },
    /// The store could not commit for now. Nothing is committed.
    Failed(Error),
    /// The store was lost during the commit. Everything is committed, or nothing.
    Unknown(Error),
}

/// A fault of a database that made a task fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFault {
    /// The disk of the server is full.
    Full,
    /// The database took no writes.
    ReadOnly,
    /// The connection was lost, or the server ended it.
    Lost,
}

impl DatabaseFault {
    /// Returns the fault of the first error of a database among `error` and its causes, unless the
    /// statement was at fault.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut causes = std::iter::successors(Some(error), |error| error.source());
        let cause = causes.find_map(|error| error.downcast_ref::<sqlx::Error>())?;
        match cause {
            cause if fault::is_lost(cause) => Some(Self::Lost),
            cause if fault::is_disk_full(cause) => Some(Self::Full),
            cause if fault::is_read_only(cause) => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

/// The error of the store that made a task fail.
#[derive(Debug)]
pub struct StoreFault {
    /// The error of the store.
    pub error: Error,
    /// The task may have caused it: its statement took all memory of the server, or it made its
    /// transaction read-only.
    pub is_perhaps_own: bool,
}

const FULL: &str = "the disk of the database is full";
const READ_ONLY: &str = "the database is read-only";

/// Longest time of a rollback. After that the connection is closed, and the server rolls back.
const ROLLBACK: Duration = Duration::from_secs(1);

/// The transactions of a store, each on a connection of its own.
#[derive(Debug)]
pub struct Transactions {
    connections: PostgresPool,
    begun: AtomicU64,
}

/// A connection on loan to one task. If it is dropped before [`Session::end`], it is closed.
#[derive(Debug)]
pub struct Session {
    lease: Lease,
    connections: PostgresPool,
    name: String,
    /// True if no transaction is open on it, and no answer is outstanding.
    clean: bool,
}

/// A transaction on loan to a task. Dropping it rolls it back.
#[derive(Debug)]
pub struct Transaction<'a> {
    inner: sqlx::Transaction<'a, Postgres>,
    connections: &'a PostgresPool,
    /// A setting that lasts for the transaction. It is lost if the task itself ended the
    /// transaction.
    name: &'a str,
    clean: &'a mut bool,
}

impl Transactions {
    pub(super) fn new(connections: &PostgresPool, options: &ResultsOptions) -> Self {
        // From version 14 on, a server detects during a statement that its client has disconnected.
        let session = format!(
            "SET idle_in_transaction_session_timeout = {};
             SELECT set_config('client_connection_check_interval', '2s', false)
             WHERE current_setting('server_version_num')::int >= 140000",
            options.transaction_idle_timeout.as_millis()
        );
        Self { connections: connections.apart(options.pool.max_transactions, &session), begun: AtomicU64::default() }
    }

    /// Returns a connection for one transaction, within the connect timeout.
    ///
    /// # Errors
    /// Returns an error if no connection becomes free in time, or if the database cannot be
    /// reached.
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
    /// Returns an error if the database is lost or refuses.
    pub async fn begin(&mut self) -> Result<Transaction<'_>> {
        let Self { lease, connections, name, clean } = self;
        let begin = AssertSqlSafe(format!("BEGIN; SET LOCAL celeriac.transaction = '{name}'"));
        let begun = connections.within(lease.connection.begin_with(begin)).await;
        let inner = begun.map_err(|cause| connections.error("beginning a transaction", cause))?;
        Ok(Transaction { inner, connections, name, clean })
    }

    /// Returns the error of the store that made a task fail, if it was not the task's own. `said`
    /// is the fault in the error of the task. The transaction must have ended.
    pub async fn store_fault(&mut self, said: Option<DatabaseFault>) -> Option<StoreFault> {
        let (error, is_perhaps_own) = match (self.is_read_only().await, said) {
            (Some(true), _) => {
                self.connections.server().found_read_only(READ_ONLY);
                (self.lost(READ_ONLY), false)
            }
            (Some(false), Some(DatabaseFault::Full)) => {
                (Error::Busy { doing: "running a transaction", source: FULL.into() }, false)
            }
            // It takes writes again since the statement, or has ended the session.
            (_, Some(DatabaseFault::ReadOnly)) => (self.lost(READ_ONLY), true),
            (None, Some(DatabaseFault::Lost | DatabaseFault::Full)) => {
                (self.lost("the connection was lost during a task"), true)
            }
            _ => return None,
        };
        Some(StoreFault { error, is_perhaps_own })
    }

    /// Returns `true` if the database takes no writes, or `None` if the connection is unusable.
    async fn is_read_only(&mut self) -> Option<bool> {
        let Self { lease, connections, clean, .. } = self;
        if !*clean {
            return None;
        }
        // An earlier task may have set the mode of the session, which is not that of the database.
        let reset =
            connections.within(sqlx::query("RESET default_transaction_read_only").execute(&mut lease.connection));
        let is_reset = reset.await.is_ok();
        let mode = sqlx::query_scalar("SELECT current_setting('transaction_read_only') = 'on'");
        let is_read_only = match is_reset {
            true => connections.within(mode.fetch_one(&mut lease.connection)).await.ok(),
            false => None,
        };
        *clean = is_read_only.is_some();
        is_read_only
    }

    fn lost(&self, reason: &str) -> Error {
        Error::Unreachable { url: self.connections.url().to_owned(), source: reason.into() }
    }

    /// Returns the connection to the pool, if it is still usable.
    pub fn end(self) {
        if self.clean && !self.lease.connection.is_in_transaction() {
            let _ = self.lease.conclude(Ok(()));
        }
    }
}

impl Transaction<'_> {
    /// Records the outcome of the task, adds its follow-ups to the outbox, with the joins of the
    /// chords among them, and commits all of it together with the work of the transaction.
    ///
    /// The row is replaced as [`Outcomes::record`](crate::Outcomes::record) says. A success also
    /// gives way to any other final state.
    pub async fn commit(self, record: &TaskRecord, follow_ups: &[OutboxMessage], new: &[NewJoin]) -> Committed {
        let connections = self.connections;
        let committed = self.commit_with(record, follow_ups, new).await;
        match &committed {
            Committed::Stored => connections.health().written(),
            Committed::Failed(error) if fault::is_unwritable(error) => {
                connections.health().write_failed(&error.to_string());
            }
            _ => {}
        }
        committed
    }

    async fn commit_with(mut self, record: &TaskRecord, follow_ups: &[OutboxMessage], new: &[NewJoin]) -> Committed {
        if let Some(reason) = exact::refusal(record) {
            self.rollback().await;
            return Committed::Refused { reason: reason.to_owned() };
        }
        let recorded = async {
            let is_recorded = write::record_in(&mut self.inner, self.name, record).await?;
            if is_recorded {
                joins::add_in(&mut self.inner, new).await?;
            }
            Ok(is_recorded)
        };
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

    /// Returns `true` if no statement of the transaction has failed.
    pub async fn is_intact(&mut self) -> bool {
        self.connections.within(sqlx::query("SELECT 1").execute(&mut *self.inner)).await.is_ok()
    }

    /// Rolls the transaction back. If that takes too long, the connection is closed, and the server
    /// rolls back.
    pub async fn rollback(self) {
        let Self { inner, clean, .. } = self;
        *clean = matches!(timeout(ROLLBACK, inner.rollback()).await, Ok(Ok(())));
    }

    async fn finish(self) -> Committed {
        let Self { inner, connections, clean, .. } = self;
        match connections.within(inner.commit()).await {
            Ok(()) => {
                *clean = true;
                connections.server().health().written();
                Committed::Stored
            }
            Err(cause) if fault::is_lost(&cause) => Committed::Unknown(connections.error("committing", cause)),
            Err(cause) => match fault::refusal(&cause) {
                // Postgres checks a deferred constraint at the commit.
                Some(reason) => Committed::Invalid { reason },
                None => Committed::Failed(connections.error("committing", cause)),
            },
        }
    }

    /// Finds the reason why the outcome was not written: a stored outcome wins, or this is no
    /// longer the task's transaction.
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
                invalid("the task ended its transaction: only the worker may do so")
            }
            Err(cause) => self.fail(cause).await,
        }
    }

    async fn fail(self, cause: sqlx::Error) -> Committed {
        let went_on = fault::is_aborted(&cause);
        let error = self.connections.error("committing", cause);
        self.rollback().await;
        if went_on { invalid("a statement failed, and the task continued") } else { Committed::Failed(error) }
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
