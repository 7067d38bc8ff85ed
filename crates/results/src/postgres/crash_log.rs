//! The crash log: table `suspects`.

use sqlx::Row as _;
use sqlx::postgres::PgBindIterExt;

use super::pool::PostgresPool;
use crate::crash_log::{CrashCheck, CrashCount, Finished};
use crate::error::Result;
use crate::exact;

const COUNT_STARTS: &str = "WITH new AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])
             WITH ORDINALITY AS new (id, retries, replays, below, worker, place)
), counted AS (
    SELECT new.*, coalesce(old.starts, 0) AS before, coalesce(old.starts, 0) >= below AS waits
    FROM new LEFT JOIN celeriac.suspects AS old USING (id, retries, replays)
), stored AS (
    INSERT INTO celeriac.suspects (id, retries, replays, starts, waits, worker)
    SELECT id, retries, replays, before + (NOT waits)::int, waits, worker FROM counted ORDER BY id
    ON CONFLICT (id) DO UPDATE SET
        retries = excluded.retries,
        replays = excluded.replays,
        starts = excluded.starts,
        waits = excluded.waits,
        worker = excluded.worker,
        seen_at = now()
    RETURNING id
)
SELECT before + (NOT waits)::int AS starts, NOT waits AS begins FROM counted ORDER BY place";

/// Clears attempts that have ended. An interrupted one keeps its earlier starts, if it had any.
const CLEAR: &str = "WITH gone AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[]) AS gone (id, retries, replays, interrupted)
), counted AS (
    UPDATE celeriac.suspects AS held SET starts = starts - 1
    FROM gone
    WHERE held.id = gone.id AND held.retries = gone.retries AND held.replays = gone.replays
      AND interrupted AND starts > 1
)
DELETE FROM celeriac.suspects AS held USING gone
WHERE held.id = gone.id AND held.retries = gone.retries AND held.replays = gone.replays
  AND (NOT interrupted OR starts <= 1)";

const SWEEP: &str = "DELETE FROM celeriac.suspects WHERE id IN (
    SELECT id FROM celeriac.suspects WHERE seen_at < now() - interval '7 days'
    ORDER BY seen_at LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// Records the attempts that start, and returns the counts in order.
pub(super) async fn count_starts(connections: &PostgresPool, checks: &[CrashCheck]) -> Result<Vec<CrashCount>> {
    let failed = |cause| connections.error("counting crashes", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(COUNT_STARTS)
        .bind(checks.iter().map(|check| check.attempt.id.as_str()).bind_iter())
        .bind(checks.iter().map(|check| i64::from(check.attempt.retries)).bind_iter())
        .bind(checks.iter().map(|check| i64::from(check.attempt.replays)).bind_iter())
        .bind(checks.iter().map(|check| i64::from(check.max_starts)).bind_iter())
        .bind(checks.iter().map(|check| exact::text(&check.worker)).bind_iter());
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    let count = |row: &sqlx::postgres::PgRow| {
        let starts = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX);
        Ok(CrashCount { starts, begins: row.try_get(1)? })
    };
    rows.iter().map(count).collect::<sqlx::Result<_>>().map_err(failed)
}

/// Removes these attempts from the record.
pub(super) async fn clear(connections: &PostgresPool, finished: &[Finished]) -> Result<()> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(CLEAR)
        .bind(finished.iter().map(|finished| finished.attempt.id.as_str()).bind_iter())
        .bind(finished.iter().map(|finished| i64::from(finished.attempt.retries)).bind_iter())
        .bind(finished.iter().map(|finished| i64::from(finished.attempt.replays)).bind_iter())
        .bind(finished.iter().map(|finished| finished.interrupted).bind_iter());
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("clearing crashes", cause))?;
    Ok(())
}

/// Deletes at most `at_most` attempts that were last seen a week ago, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(SWEEP).bind(i64::from(at_most));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    let done = lease.conclude(answer).map_err(|cause| connections.error("deleting old crashes", cause))?;
    Ok(done.rows_affected())
}
