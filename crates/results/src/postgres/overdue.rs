//! Overdue retries: tasks whose next attempt has been due for long, and whose message may be lost.

use std::time::Duration;

use celeriac_protocol::Failure;
use jiff::Timestamp;
use sqlx::Row as _;

use super::pool::PostgresPool;
use super::time::Time;
use crate::error::Result;

const LIST: &str = "SELECT id, name, queue, attempts, due_at, overdue_seconds, message_kept, error_kind, error_message
FROM celeriac.unstarted_retries
WHERE due_at < now() - make_interval(secs => $1) AND ($2 IS NULL OR id = ANY($2)) LIMIT $3";

const COUNT: &str = "SELECT retries, oldest_seconds FROM celeriac.count_overdue_retries(make_interval(secs => $1), $2)";

const SEND: &str = "SELECT celeriac.send_overdue_retries($1, make_interval(secs => $2), $3)";

/// A task that waits for its next attempt for longer than it should.
#[derive(Debug, Clone, PartialEq)]
pub struct OverdueRetry {
    /// The task id.
    pub id: String,
    /// The registered name.
    pub name: String,
    /// The queue of the task.
    pub queue: String,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Time of the next attempt.
    pub due_at: Timestamp,
    /// Time since then, by the clock of the database.
    pub overdue: Duration,
    /// True if the row has the message of the next attempt.
    pub message_kept: bool,
    /// The error of the last attempt.
    pub failure: Option<Failure>,
}

/// Number and age of overdue retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverdueCount {
    /// Number of tasks, counted up to a limit.
    pub retries: u64,
    /// Time that the oldest of them is overdue.
    pub oldest: Duration,
}

/// The overdue retries of a store.
#[derive(Debug, Clone)]
pub struct OverdueRetries {
    connections: PostgresPool,
}

impl OverdueRetries {
    pub(super) fn new(connections: PostgresPool) -> Self {
        Self { connections }
    }

    /// Returns tasks whose next attempt has been due for longer than `after`, the oldest first.
    /// With `ids`, only tasks among these.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn list(&self, after: Duration, ids: Option<&[String]>, limit: u32) -> Result<Vec<OverdueRetry>> {
        let failed = |cause| self.connections.error("reading overdue retries", cause);
        let query = sqlx::query(LIST).bind(after.as_secs_f64()).bind(ids.map(<[String]>::to_vec));
        let mut lease = self.connections.lease().await?;
        let query = query.bind(i64::from(limit)).fetch_all(&mut lease.connection);
        let answer = self.connections.within(query).await;
        let rows = lease.conclude(answer).map_err(failed)?;
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(failed)
    }

    /// Counts tasks whose next attempt has been due for longer than `after`, up to `at_most`.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn count(&self, after: Duration, at_most: u32) -> Result<OverdueCount> {
        let failed = |cause| self.connections.error("counting overdue retries", cause);
        let mut lease = self.connections.lease().await?;
        let query = sqlx::query(COUNT).bind(after.as_secs_f64()).bind(i64::from(at_most));
        let answer = self.connections.within(query.fetch_one(&mut lease.connection)).await;
        let row = lease.conclude(answer).map_err(failed)?;
        let retries: i64 = row.try_get(0).map_err(failed)?;
        let oldest: Option<f64> = row.try_get(1).map_err(failed)?;
        Ok(OverdueCount {
            retries: u64::try_from(retries).unwrap_or_default(),
            oldest: oldest.map_or(Duration::ZERO, seconds),
        })
    }

    /// Writes the next attempts of at most `at_most` overdue tasks to the outbox, the oldest first,
    /// and returns their ids. With `ids`, only of tasks among these. `after` counts as a minute at
    /// least.
    ///
    /// The row of each task gets the next number, in the same transaction. A worker runs nothing
    /// for a message with a lower number, so a copy that the broker still has is harmless.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses. Then either all of
    /// these tasks are sent again, or none.
    pub async fn send(&self, after: Duration, ids: Option<&[String]>, at_most: u32) -> Result<Vec<String>> {
        let failed = |cause| self.connections.error("sending overdue retries", cause);
        let query = sqlx::query(SEND).bind(ids.map(<[String]>::to_vec)).bind(after.as_secs_f64());
        let mut lease = self.connections.lease().await?;
        let query = query.bind(i64::from(at_most)).fetch_all(&mut lease.connection);
        let answer = self.connections.within(query).await;
        let rows = lease.conclude(answer).map_err(failed)?;
        rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>().map_err(failed)
    }
}

fn read(row: &sqlx::postgres::PgRow) -> sqlx::Result<OverdueRetry> {
    let kind: Option<String> = row.try_get(7)?;
    let message: Option<String> = row.try_get(8)?;
    Ok(OverdueRetry {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        queue: row.try_get(2)?,
        attempts: u32::try_from(row.try_get::<i64, _>(3)?).unwrap_or(u32::MAX),
        due_at: row.try_get::<Time, _>(4)?.0,
        overdue: seconds(row.try_get(5)?),
        message_kept: row.try_get(6)?,
        failure: kind.map(|kind| Failure::new(kind, message.unwrap_or_default())),
    })
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
