//! The audit log: table `audit`. Functions of its owner write it, so an operator needs no right to
//! change it.

use std::time::Duration;

use super::pool::PostgresPool;
use crate::audit::{Operator, OperatorAction};
use crate::error::Result;
use crate::exact;

const BEGIN: &str = "SELECT celeriac.audit_begin($1, $2, $3, $4, $5::jsonb)";

const END: &str = "SELECT celeriac.audit_end($1, $2, $3)";

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

/// Deletes at most `at_most` old rows, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, keep: Duration, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar::<_, i64>(SWEEP).bind(keep.as_secs_f64()).bind(i64::from(at_most));
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    let deleted = lease.conclude(answer).map_err(|cause| connections.error("deleting old audit rows", cause))?;
    Ok(u64::try_from(deleted).unwrap_or_default())
}
