//! The rows of sent tasks.

use sqlx::postgres::PgBindIterExt;

use super::pool::PostgresPool;
use super::time::Time;
use crate::error::Result;
use crate::exact;
use crate::record::SentRecord;

const ADD: &str = "SELECT celeriac.add_sent($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// Finds the rows of tasks that were due for so long, which no outcome will replace.
pub(super) const SWEEP: &str = "DELETE FROM celeriac.tasks WHERE id IN (
    SELECT id FROM celeriac.tasks
    WHERE state = 'SENT' AND sent_at < clock_timestamp() - make_interval(secs => $1)
        AND greatest(sent_at, eta) < clock_timestamp() - make_interval(secs => $1)
    ORDER BY sent_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Writes a row for each task that has none, by a function that may do nothing else.
pub(super) async fn record(connections: &PostgresPool, tasks: &[SentRecord]) -> Result<()> {
    let mut tasks: Vec<&SentRecord> = tasks.iter().collect();
    // Every writer locks its rows in the same order.
    tasks.sort_by(|left, right| left.id.cmp(&right.id));
    let query = sqlx::query(ADD)
        .bind(tasks.iter().map(|task| task.id.as_str()).bind_iter())
        .bind(tasks.iter().map(|task| exact::text(&task.name)).bind_iter())
        .bind(tasks.iter().map(|task| exact::text(&task.queue)).bind_iter())
        .bind(tasks.iter().map(|task| exact::text(&task.exchange)).bind_iter())
        .bind(tasks.iter().map(|task| exact::text(&task.routing_key)).bind_iter())
        .bind(tasks.iter().map(|task| Time(task.sent_at)).bind_iter())
        .bind(tasks.iter().map(|task| task.eta.map(Time)).bind_iter())
        .bind(tasks.iter().map(|task| task.expires.map(Time)).bind_iter())
        .bind(tasks.iter().map(|task| task.root_id.as_deref().map(exact::text)).bind_iter())
        .bind(tasks.iter().map(|task| task.parent_id.as_deref().map(exact::text)).bind_iter())
        .bind(tasks.iter().map(|task| task.group_id.as_deref().map(exact::text)).bind_iter());
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("recording sent tasks", cause))
}
