//! Failed tasks, and sending them anew: the function `celeriac.retry`.

use std::time::Duration;

use serde_json::json;
use sqlx::Row;

use super::fault;
use super::pool::PostgresPool;
use crate::audit::Operator;
use crate::error::Result;

/// A task that ended in a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTask {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Fingerprint of its error: see `celeriac.failed_tasks`.
    pub fingerprint: String,
    /// True if its row holds the arguments, without which it cannot be retried.
    pub has_arguments: bool,
}

const FAILED: &str = "SELECT failed.id, failed.name, failed.fingerprint,
           failed.name <> '' AND tasks.args IS NOT NULL AND tasks.kwargs IS NOT NULL
               AND NOT celeriac.is_redacted(tasks.args, tasks.kwargs)
    FROM celeriac.failed_tasks AS failed
    JOIN celeriac.tasks USING (id)
    WHERE failed.state = 'FAILURE' AND failed.finished_at > clock_timestamp() - make_interval(secs => $1)
    ORDER BY failed.finished_at";

/// The setting is local to the transaction of this statement. The function reads it for the audit
/// row.
const RETRY: &str = "WITH told AS MATERIALIZED (SELECT set_config('celeriac.operator', $1, true))
    SELECT celeriac.retry($2::text[]) FROM told";

/// Returns the tasks that failed within this time, the earliest first.
pub(super) async fn failed(connections: &PostgresPool, since: Duration) -> Result<Vec<FailedTask>> {
    let failed = |cause| connections.error("reading failed tasks", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(FAILED).bind(since.as_secs_f64());
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    let read = rows.iter().map(|row| {
        Ok(FailedTask {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            fingerprint: row.try_get(2)?,
            has_arguments: row.try_get(3)?,
        })
    });
    read.collect::<sqlx::Result<_>>().map_err(failed)
}

/// Sends failed tasks anew, all of them or none. Returns the reason if one is refused.
pub(super) async fn retry(connections: &PostgresPool, operator: &Operator, ids: &[String]) -> Result<Option<String>> {
    let Operator { os_user, host, program } = operator;
    let told = json!({ "os_user": os_user, "host": host, "program": program });
    let mut lease = connections.lease().await?;
    let query = sqlx::query(RETRY).bind(told.to_string()).bind(ids);
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    match lease.conclude(answer) {
        Ok(_) => Ok(None),
        Err(cause) => match fault::refusal(&cause) {
            Some(reason) => Ok(Some(reason)),
            None => Err(connections.error("retrying tasks", cause)),
        },
    }
}
