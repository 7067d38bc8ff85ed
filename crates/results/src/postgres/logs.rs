//! Reads the log lines of attempts.

use celeriac_telemetry::KeptLog;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::pool::PostgresPool;
use crate::error::{Error, Result};
use crate::record::AttemptLog;

const LOGS: &str = "SELECT replays, attempt, worker, lines, left_out, text FROM celeriac.attempt_logs
    WHERE id = $1 ORDER BY replays, attempt";

/// Returns an error if the database cannot hold every text. Its refusal of a line would be one of
/// the whole outcome.
pub(super) async fn check_encoding(connections: &PostgresPool) -> Result<()> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar::<_, String>("SELECT current_setting('server_encoding')");
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    let encoding = lease.conclude(answer).map_err(|cause| connections.error("reading the encoding", cause))?;
    if matches!(encoding.as_str(), "UTF8" | "SQL_ASCII") {
        return Ok(());
    }
    let reason = format!("needs a database with the encoding UTF8, and this one has {encoding}");
    Err(Error::Invalid { key: "results.logs".to_owned(), reason })
}

/// Returns the log lines of each attempt of a task, in order.
pub(super) async fn logs(connections: &PostgresPool, id: &str) -> Result<Vec<AttemptLog>> {
    let failed = |cause| connections.error("reading the log lines of a task", cause);
    let mut lease = connections.lease().await?;
    let answer = connections.within(sqlx::query(LOGS).bind(id).fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    rows.iter().map(log).collect::<sqlx::Result<_>>().map_err(failed)
}

fn log(row: &PgRow) -> sqlx::Result<AttemptLog> {
    let number = |column| Ok::<_, sqlx::Error>(u32::try_from(row.try_get::<i64, _>(column)?).unwrap_or(u32::MAX));
    let count = |column| Ok::<_, sqlx::Error>(usize::try_from(row.try_get::<i64, _>(column)?).unwrap_or_default());
    let log = KeptLog { text: row.try_get(5)?, lines: count(3)?, left_out: count(4)? };
    Ok(AttemptLog { replays: number(0)?, attempt: number(1)?, worker: row.try_get(2)?, log })
}
