//! The audit log: the actions of operators, by user, time and target.
//!
//! A row is written before its action, so an action whose process dies has left its intent. It is
//! completed after the action, with the count and the error.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::error::Result;

/// Shortest time that a store keeps audit rows. Whoever may delete old rows could otherwise delete
/// the trace of today.
pub(crate) const MIN_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The audit log of a store.
pub trait AuditLog: fmt::Debug + Send + Sync + 'static {
    /// Writes the row of an action that is about to begin, and returns its number.
    fn begin_action<'a>(&'a self, operator: &'a Operator, action: &'a OperatorAction) -> BoxFuture<'a, Result<i64>>;

    /// Completes the row of an action: with the number of objects that it changed, and its error.
    fn end_action<'a>(&'a self, number: i64, count: u64, error: Option<&'a str>) -> BoxFuture<'a, Result<()>>;

    /// Returns at most `at_most` rows, the newest first. With `open`, only those without an end.
    fn actions(&self, open: bool, at_most: u32) -> BoxFuture<'_, Result<Vec<AuditRecord>>>;

    /// Deletes at most `at_most` rows that are older than `keep` and than 30 days, and returns
    /// their number.
    fn sweep_audit(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// The user and the program of an action, as the process knows them. Postgres adds the user that is
/// logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// User of the operating system.
    pub os_user: String,
    /// Host of the process.
    pub host: String,
    /// Name and version of the program.
    pub program: String,
}

/// An action of an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorAction {
    /// Its name, such as `dead purge`.
    pub name: &'static str,
    /// The queues, ids, filter and options.
    pub target: Json,
}

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRecord {
    /// Number of the row.
    pub number: i64,
    /// Time before the action.
    pub began_at: Timestamp,
    /// Time after the action. `None`: it runs, or its process died.
    pub ended_at: Option<Timestamp>,
    /// Name of the action, such as `dead purge`.
    pub action: String,
    /// The queues, ids, filter and options.
    pub target: Json,
    /// Number of objects that the action changed.
    pub count: Option<u64>,
    /// Error of an action that failed.
    pub error: Option<String>,
    /// The user and the program, as the program stated them.
    pub operator: Operator,
    /// User of the database. `None` in SQLite.
    pub database_user: Option<String>,
}

/// The row of an action that has begun. Without [`AuditEntry::end`] it stays without an end.
#[derive(Debug)]
#[must_use = "the row has no end until `end` writes it"]
pub struct AuditEntry {
    store: Arc<dyn AuditLog>,
    number: i64,
}

impl Operator {
    /// Returns the user of this process. `program` is its name and version.
    pub fn of_process(program: String) -> Self {
        Self {
            os_user: whoami::username().unwrap_or_else(|_| "unknown".to_owned()),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            program,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}, {}", self.os_user, self.host, self.program)
    }
}

impl AuditEntry {
    /// Writes the row of an action that is about to begin.
    ///
    /// # Errors
    /// Returns an error if the row is not written. The action must not begin then.
    pub async fn begin(store: Arc<dyn AuditLog>, operator: &Operator, action: &OperatorAction) -> Result<Self> {
        let number = store.begin_action(operator, action).await?;
        Ok(Self { store, number })
    }

    /// Completes the row.
    ///
    /// # Errors
    /// Returns an error if the row may lack its end.
    pub async fn end(self, count: u64, error: Option<&str>) -> Result<()> {
        self.store.end_action(self.number, count, error).await
    }
}
