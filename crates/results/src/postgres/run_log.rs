//! The run log: table `runs`.

use std::time::Duration;

use sqlx::Row as _;

use super::pool::PostgresPool;
use crate::crash_log::AttemptKey;
use crate::error::Result;
use crate::exact;
use crate::record::is_id;

const RENEW: &str = "INSERT INTO celeriac.runs (id, retries, replays, worker, expires_at)
VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET
    retries = excluded.retries,
    replays = excluded.replays,
    worker = excluded.worker,
    expires_at = excluded.expires_at";

const FIND: &str = "SELECT worker FROM celeriac.runs
WHERE id = $1 AND retries = $2 AND replays = $3 AND expires_at > now()";

const END: &str = "DELETE FROM celeriac.runs WHERE id = $1 AND retries = $2 AND replays = $3 AND worker = $4";

const SWEEP: &str = "DELETE FROM celeriac.runs WHERE id IN (
    SELECT id FROM celeriac.runs WHERE expires_at < now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// Records that a worker runs an attempt.
pub(super) async fn renew(
    connections: &PostgresPool,
    attempt: &AttemptKey,
    worker: &str,
    lease: Duration,
) -> Result<()> {
    let AttemptKey { id, retries, replays } = attempt;
    let query = sqlx::query(RENEW).bind(id).bind(i64::from(*retries)).bind(i64::from(*replays));
    let query = query.bind(exact::text(worker)).bind(lease.as_secs_f64());
    let mut lent = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lent.connection)).await;
    lent.conclude(answer).map(drop).map_err(|cause| connections.error("recording a run", cause))
}

/// Returns the worker that runs an attempt.
pub(super) async fn find(connections: &PostgresPool, attempt: &AttemptKey) -> Result<Option<String>> {
    let failed = |cause| connections.error("reading a run", cause);
    let AttemptKey { id, retries, replays } = attempt;
    if !is_id(id) {
        return Ok(None);
    }
    let query = sqlx::query(FIND).bind(id).bind(i64::from(*retries)).bind(i64::from(*replays));
    let mut lent = connections.lease().await?;
    let answer = connections.within(query.fetch_optional(&mut lent.connection)).await;
    let row = lent.conclude(answer).map_err(failed)?;
    row.map(|row| row.try_get(0)).transpose().map_err(failed)
}

/// Removes an attempt that has ended.
pub(super) async fn end(connections: &PostgresPool, attempt: &AttemptKey, worker: &str) -> Result<()> {
    let AttemptKey { id, retries, replays } = attempt;
    let query = sqlx::query(END).bind(id).bind(i64::from(*retries)).bind(i64::from(*replays));
    let query = query.bind(exact::text(worker));
    let mut lent = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lent.connection)).await;
    lent.conclude(answer).map(drop).map_err(|cause| connections.error("removing a run", cause))
}

/// Deletes at most `at_most` attempts whose lease has ended, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, at_most: u32) -> Result<u64> {
    let mut lent = connections.lease().await?;
    let query = sqlx::query(SWEEP).bind(i64::from(at_most));
    let answer = connections.within(query.execute(&mut lent.connection)).await;
    let done = lent.conclude(answer).map_err(|cause| connections.error("deleting old runs", cause))?;
    Ok(done.rows_affected())
}
