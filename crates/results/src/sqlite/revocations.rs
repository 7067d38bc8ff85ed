//! Revokes tasks, and keeps the revocations in the memory of processes that run tasks.

use std::sync::Arc;
use std::time::Duration;

use celeriac_telemetry::events::results::RevocationsUnreadable;
use celeriac_telemetry::{Event, clock};
use sqlx::Row as _;
use sqlx::sqlite::SqlitePool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{fault, watch, write};
use crate::backoff::StoreBackoff;
use crate::error::Result;
use crate::revocations::{MAX_STALENESS, RevocationCache, RevocationRow, checked};

/// A replaced revocation gets a new number, so that the next read finds it.
const REVOKE: &str = "INSERT OR REPLACE INTO revocations (id, terminate, revoked_at, until)
SELECT ?1,
       max(?2, coalesce((SELECT terminate FROM revocations WHERE id = ?1), 0)),
       coalesce((SELECT revoked_at FROM revocations WHERE id = ?1), ?3),
       max(?4, coalesce((SELECT until FROM revocations WHERE id = ?1), ''))";

const LOOK: &str = "SELECT number, id, terminate, until FROM revocations WHERE number > ?1 ORDER BY number LIMIT ?2";

/// Rows read in one query.
const PAGE: i64 = 10_000;

const SWEEP: &str = "DELETE FROM revocations WHERE number IN (
    SELECT number FROM revocations WHERE until < ?1 ORDER BY until LIMIT ?2)";

/// Revokes tasks for a time. On return the revocation is in force, also in other processes on the
/// same file.
pub(super) async fn revoke(
    (url, pool): (&str, &SqlitePool),
    ids: &[String],
    terminate: bool,
    lasts: Duration,
    revocations: &RevocationCache,
) -> Result<()> {
    let ids = checked(ids)?;
    store(pool, &ids, terminate, lasts).await.map_err(|cause| fault::error(url, "revoking tasks", cause))?;
    revocations.request_refresh();
    sleep(MAX_STALENESS).await;
    Ok(())
}

async fn store(pool: &SqlitePool, ids: &[&str], terminate: bool, lasts: Duration) -> sqlx::Result<()> {
    let now = clock::now();
    let until = now.checked_add(lasts).unwrap_or(jiff::Timestamp::MAX);
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for id in ids {
        let query = sqlx::query(REVOKE).bind(*id).bind(terminate).bind(write::iso(now)).bind(write::iso(until));
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Deletes at most `at_most` expired revocations, and returns their number.
pub(super) async fn sweep(url: &str, pool: &SqlitePool, at_most: u32) -> Result<u64> {
    let done = sqlx::query(SWEEP).bind(write::iso(clock::now())).bind(at_most).execute(pool).await;
    Ok(done.map_err(|cause| fault::error(url, "deleting old revocations", cause))?.rows_affected())
}

/// Keeps `revocations` up to date until `stop`.
pub(super) async fn keep(url: String, pool: SqlitePool, revocations: Arc<RevocationCache>, stop: CancellationToken) {
    let (mut backoff, mut seen) = (StoreBackoff::new(), 0);
    let kept = async {
        loop {
            let began = Instant::now();
            match look(&pool, &revocations, &mut seen).await {
                Ok(()) => {
                    backoff.reset();
                    revocations.refreshed(began);
                    revocations.drop_passed();
                }
                Err(cause) => {
                    let error = fault::error(&url, "reading revocations", cause);
                    let retry_in = backoff.next_wait();
                    RevocationsUnreadable { retry_in, error: &error.to_string() }.emit();
                    sleep(retry_in).await;
                    continue;
                }
            }
            // SQLite does not notify of writes by other processes.
            tokio::select! {
                () = revocations.refresh_requested() => {}
                () = sleep(watch::LOOK), if revocations.is_watched() => {}
            }
        }
    };
    stop.run_until_cancelled(kept).await;
}

/// Reads the new rows.
async fn look(pool: &SqlitePool, revocations: &RevocationCache, seen: &mut i64) -> sqlx::Result<()> {
    loop {
        let found = sqlx::query(LOOK).bind(*seen).bind(PAGE).fetch_all(pool).await?;
        let is_last = found.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        let mut rows = Vec::with_capacity(found.len());
        for row in &found {
            *seen = row.try_get(0)?;
            let until = row.try_get::<&str, _>(3)?.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            rows.push(RevocationRow { id: row.try_get(1)?, terminate: row.try_get(2)?, until });
        }
        revocations.update(rows);
        if is_last {
            return Ok(());
        }
    }
}
