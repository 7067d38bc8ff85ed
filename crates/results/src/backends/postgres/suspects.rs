//! Keeps the record of suspects.

use sqlx::Row as _;
use sqlx::postgres::PgBindIterExt;

use super::connections::Connections;
use crate::backends::exact;
use crate::error::Result;
use crate::suspects::{Cleared, Suspect, Suspicion};

const SUSPECT: &str = "WITH new AS (
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

/// What was only interrupted is on record with the starts before, if there were any.
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

/// Puts on record which of these begin, and answers in their order.
pub(super) async fn suspect(connections: &Connections, suspects: &[Suspect]) -> Result<Vec<Suspicion>> {
    let failed = |cause| connections.error("looking up suspects", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(SUSPECT)
        .bind(suspects.iter().map(|suspect| suspect.attempt.id.as_str()).bind_iter())
        .bind(suspects.iter().map(|suspect| i64::from(suspect.attempt.retries)).bind_iter())
        .bind(suspects.iter().map(|suspect| i64::from(suspect.attempt.replays)).bind_iter())
        .bind(suspects.iter().map(|suspect| i64::from(suspect.below)).bind_iter())
        .bind(suspects.iter().map(|suspect| exact::text(&suspect.worker)).bind_iter());
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    let suspicion = |row: &sqlx::postgres::PgRow| {
        let starts = u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX);
        Ok(Suspicion { starts, begins: row.try_get(1)? })
    };
    rows.iter().map(suspicion).collect::<sqlx::Result<_>>().map_err(failed)
}

/// Takes these off the record.
pub(super) async fn clear(connections: &Connections, cleared: &[Cleared]) -> Result<()> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(CLEAR)
        .bind(cleared.iter().map(|cleared| cleared.attempt.id.as_str()).bind_iter())
        .bind(cleared.iter().map(|cleared| i64::from(cleared.attempt.retries)).bind_iter())
        .bind(cleared.iter().map(|cleared| i64::from(cleared.attempt.replays)).bind_iter())
        .bind(cleared.iter().map(|cleared| cleared.interrupted).bind_iter());
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map_err(|cause| connections.error("clearing suspects", cause))?;
    Ok(())
}

/// Deletes those that nobody has seen for a week, no more than `at_most`; how many it were.
pub(super) async fn sweep(connections: &Connections, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(SWEEP).bind(i64::from(at_most));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    let done = lease.conclude(answer).map_err(|cause| connections.error("deleting old suspects", cause))?;
    Ok(done.rows_affected())
}
