//! Revokes tasks, and keeps the revocations in the memory of processes that run tasks.

use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{RevocationsUnreadable, StoreAwaited};
use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{Acquire as _, Row as _};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::listen::{Listening, lost};
use super::pool::PostgresPool;
use super::time::Time;
use crate::backoff::StoreBackoff;
use crate::error::Result;
use crate::revocations::{MAX_STALENESS, RevocationCache, RevocationRow, checked};

/// A notification says only that the table has new rows.
const CHANNEL: &str = "celeriac_revoked";

/// Lock for revoking, so that numbers follow the order of commits: the bytes of `revoked`.
const LOCK: i64 = 0x0072_6576_6f6b_6564;

/// Most tasks revoked in one transaction.
const PIECE: usize = 10_000;

const REVOKE: &str = "WITH stored AS (
    INSERT INTO celeriac.revocations AS held (id, terminate, until)
    SELECT id, $2, now() + $3 * interval '1 second' FROM unnest($1::text[]) AS new (id)
    ON CONFLICT (id) DO UPDATE SET
        terminate = held.terminate OR excluded.terminate,
        until = greatest(held.until, excluded.until),
        number = excluded.number,
        revoked_by = excluded.revoked_by
    RETURNING id
)
SELECT pg_notify('celeriac_revoked', '') FROM (SELECT count(*) FROM stored) AS counted";

const LOOK: &str =
    "SELECT number, id, terminate, until FROM celeriac.revocations WHERE number > $1 ORDER BY number LIMIT $2";

/// Rows read in one query.
const PAGE: i64 = 10_000;

/// Time between two removals of expired revocations from memory.
const CLEANING: Duration = Duration::from_secs(600);

const SWEEP: &str = "DELETE FROM celeriac.revocations WHERE id IN (
    SELECT id FROM celeriac.revocations WHERE until < now() ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// Revokes tasks for a time. On return the revocation is in force everywhere.
pub(super) async fn revoke(connections: &PostgresPool, ids: &[String], terminate: bool, lasts: Duration) -> Result<()> {
    for ids in checked(ids)?.chunks(PIECE) {
        let mut lease = connections.lease().await?;
        let answer = connections.within(store(&mut lease.connection, ids, terminate, lasts)).await;
        lease.conclude(answer).map_err(|cause| connections.error("revoking tasks", cause))?;
    }
    sleep(MAX_STALENESS).await;
    Ok(())
}

async fn store(connection: &mut PgConnection, ids: &[&str], terminate: bool, lasts: Duration) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    sqlx::query(REVOKE).bind(ids).bind(terminate).bind(lasts.as_secs_f64()).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Deletes at most `at_most` expired revocations, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(SWEEP).bind(i64::from(at_most));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    let done = lease.conclude(answer).map_err(|cause| connections.error("deleting old revocations", cause))?;
    Ok(done.rows_affected())
}

/// Keeps `revocations` up to date until `stop`. Reconnects after each loss of the connection.
pub(super) async fn keep(mut listening: Listening, revocations: Arc<RevocationCache>, stop: CancellationToken) {
    let mut backoff = StoreBackoff::new();
    let kept = async {
        loop {
            let cause = match listening.connect(CHANNEL).await {
                Ok(mut listener) => {
                    backoff.reset();
                    serve(&listening, &mut listener, &revocations).await
                }
                Err(cause) => cause,
            };
            let error = listening.server().error("reading revocations", cause);
            let retry_in = backoff.next_wait();
            let told = error.to_string();
            match error.is_connection_lost() {
                true => StoreAwaited { work: "revocations", retry_in, error: &told }.emit(),
                false => RevocationsUnreadable { retry_in, error: &told }.emit(),
            }
            listening.end().await;
            sleep(retry_in).await;
        }
    };
    stop.run_until_cancelled(Box::pin(kept)).await;
    listening.end().await;
}

/// Reads the table after each notification and at intervals, until the connection is lost. Returns
/// the reason.
async fn serve(listening: &Listening, listener: &mut PgListener, revocations: &RevocationCache) -> sqlx::Error {
    // Reads from the first row on, because the server may have been restored from a backup.
    let mut seen = 0;
    let mut cleaned = Instant::now();
    loop {
        let began = Instant::now();
        if let Err(cause) = look(listening, listener, revocations, &mut seen).await {
            return cause;
        }
        revocations.refreshed(began);
        if cleaned.elapsed() > CLEANING {
            revocations.drop_passed();
            cleaned = Instant::now();
        }
        tokio::select! {
            heard = listener.try_recv() => match heard {
                Ok(Some(_)) => {}
                Ok(None) => return lost("the server ended the connection"),
                Err(cause) => return cause,
            },
            () = revocations.refresh_requested() => {}
            // A connection may have died silently, and running tasks may have been revoked.
            () = sleep(listening.look()) => {}
        }
        while listener.next_buffered().is_some() {}
    }
}

/// Reads the new rows.
async fn look(
    listening: &Listening,
    listener: &mut PgListener,
    revocations: &RevocationCache,
    seen: &mut i64,
) -> sqlx::Result<()> {
    loop {
        let query = sqlx::query(LOOK).bind(*seen).bind(PAGE);
        let found = listening.within(async { query.fetch_all(listener.acquire().await?).await }).await?;
        let is_last = found.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            *seen = row.try_get(0)?;
            let Time(until) = row.try_get(3)?;
            rows.push(RevocationRow { id: row.try_get(1)?, terminate: row.try_get(2)?, until });
        }
        revocations.update(rows);
        if is_last {
            return Ok(());
        }
    }
}
