//! The audit log: table `audit`. Functions of its owner write it, so an operator needs no right to
//! change it.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::pool::PostgresPool;
use super::time::Time;
use crate::audit::{AuditRecord, Operator, OperatorAction};
use crate::error::Result;
use crate::exact;

const BEGIN: &str = "SELECT celeriac.audit_begin($1, $2, $3, $4, $5::jsonb)";

const END: &str = "SELECT celeriac.audit_end($1, $2, $3)";

const ACTIONS: &str = "SELECT number, began_at, ended_at, action, target::text, count, error, os_user, host, program,
    database_user
FROM celeriac.audit WHERE ended_at IS NULL OR NOT $1 ORDER BY number DESC LIMIT $2";

const SWEEP: &str = "SELECT celeriac.audit_sweep(make_interval(secs => $1), $2)";

/// Writes the row of an action that is about to begin, and returns its number.
pub(super) async fn begin(connections: &PostgresPool, operator: &Operator, action: &OperatorAction) -> Result<i64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar(BEGIN)
        .bind(exact::text(&operator.os_user))
        .bind(exact::text(&operator.host))
        .bind(exact::text(&operator.program))
        .bind(action.name)
        .bind(action.target.to_string());
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("writing an audit row", cause))
}

/// Completes the row of an action.
pub(super) async fn end(connections: &PostgresPool, number: i64, count: u64, error: Option<&str>) -> Result<()> {
    let mut lease = connections.lease().await?;
    let query =
        sqlx::query(END).bind(number).bind(i64::try_from(count).unwrap_or(i64::MAX)).bind(error.map(exact::text));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("completing an audit row", cause))?;
    Ok(())
}

/// Returns at most `at_most` rows, the newest first.
pub(super) async fn actions(connections: &PostgresPool, open: bool, at_most: u32) -> Result<Vec<AuditRecord>> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(ACTIONS).bind(open).bind(i64::from(at_most));
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).and_then(|rows| rows.iter().map(read).collect());
    rows.map_err(|cause| connections.error("reading the audit log", cause))
}

fn read(row: &PgRow) -> sqlx::Result<AuditRecord> {
    let target: String = row.try_get(4)?;
    Ok(AuditRecord {
        number: row.try_get(0)?,
        began_at: row.try_get::<Time, _>(1)?.0,
        ended_at: row.try_get::<Option<Time>, _>(2)?.map(|Time(time)| time),
        action: row.try_get(3)?,
        target: serde_json::from_str(&target).map_err(|error| sqlx::Error::Decode(error.into()))?,
        count: row.try_get::<Option<i64>, _>(5)?.and_then(|count| u64::try_from(count).ok()),
        error: row.try_get(6)?,
        operator: Operator { os_user: row.try_get(7)?, host: row.try_get(8)?, program: row.try_get(9)? },
        database_user: row.try_get(10)?,
    })
}

/// Deletes at most `at_most` old rows, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, keep: Duration, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar::<_, i64>(SWEEP).bind(keep.as_secs_f64()).bind(i64::from(at_most));
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    let deleted = lease.conclude(answer).map_err(|cause| connections.error("deleting old audit rows", cause))?;
    Ok(u64::try_from(deleted).unwrap_or_default())
}
