//! The audit log: table `audit`.

use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::read::time;
use crate::audit::{AuditRecord, MIN_RETENTION, Operator, OperatorAction};

const BEGIN: &str = "INSERT INTO audit (os_user, host, program, action, target) VALUES (?1, ?2, ?3, ?4, ?5)
RETURNING number";

const END: &str = "UPDATE audit SET ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), count = ?2, error = ?3
WHERE number = ?1 AND ended_at IS NULL";

const ACTIONS: &str = "SELECT number, began_at, ended_at, action, target, count, error, os_user, host, program
FROM audit WHERE ended_at IS NULL OR NOT ?1 ORDER BY number DESC LIMIT ?2";

const SWEEP: &str = "DELETE FROM audit WHERE number IN (
    SELECT number FROM audit WHERE began_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || ?1 || ' seconds')
    ORDER BY began_at LIMIT ?2)";

/// Writes the row of an action that is about to begin, and returns its number.
pub(super) async fn begin(pool: &SqlitePool, operator: &Operator, action: &OperatorAction) -> sqlx::Result<i64> {
    let query = sqlx::query_scalar(BEGIN).bind(&operator.os_user).bind(&operator.host).bind(&operator.program);
    query.bind(action.name).bind(action.target.to_string()).fetch_one(pool).await
}

/// Completes the row of an action.
pub(super) async fn end(pool: &SqlitePool, number: i64, count: u64, error: Option<&str>) -> sqlx::Result<()> {
    let query = sqlx::query(END).bind(number).bind(i64::try_from(count).unwrap_or(i64::MAX)).bind(error);
    query.execute(pool).await.map(drop)
}

/// Returns at most `at_most` rows, the newest first.
pub(super) async fn actions(pool: &SqlitePool, open: bool, at_most: u32) -> sqlx::Result<Vec<AuditRecord>> {
    sqlx::query(ACTIONS).bind(open).bind(at_most).fetch_all(pool).await?.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> sqlx::Result<AuditRecord> {
    Ok(AuditRecord {
        number: row.try_get(0)?,
        began_at: time(row, 1)?.ok_or(sqlx::Error::ColumnNotFound("began_at".to_owned()))?,
        ended_at: time(row, 2)?,
        action: row.try_get(3)?,
        target: serde_json::from_str(row.try_get(4)?).map_err(|error| sqlx::Error::Decode(error.into()))?,
        count: row.try_get::<Option<i64>, _>(5)?.and_then(|count| u64::try_from(count).ok()),
        error: row.try_get(6)?,
        operator: Operator { os_user: row.try_get(7)?, host: row.try_get(8)?, program: row.try_get(9)? },
        database_user: None,
    })
}

/// Deletes at most `at_most` old rows, and returns their number.
pub(super) async fn sweep(pool: &SqlitePool, keep: Duration, at_most: u32) -> sqlx::Result<u64> {
    let seconds = i64::try_from(keep.max(MIN_RETENTION).as_secs()).unwrap_or(i64::MAX);
    let done = sqlx::query(SWEEP).bind(seconds).bind(at_most).execute(pool).await?;
    Ok(done.rows_affected())
}
