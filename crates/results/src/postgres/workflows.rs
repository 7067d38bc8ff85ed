//! Workflows: table `groups`, and the trees of table `tasks`.

use std::time::Duration;

use celeriac_protocol::Failure;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::pool::PostgresPool;
use super::read;
use super::time::Time;
use crate::error::Result;
use crate::exact;
use crate::workflows::{SavedGroup, WorkflowChord, WorkflowTask};

const WORKFLOW: &str = include_str!("workflow.sql");

const CHORDS: &str = "SELECT id, size, coalesce(ok, 0), coalesce(failed, 0), body, fired_at, error
FROM celeriac.joins LEFT JOIN LATERAL (
    SELECT sum(ok)::bigint AS ok, sum(failed)::bigint AS failed FROM celeriac.tallies WHERE join_id = joins.id
) AS ended ON true
WHERE id = ANY ($1) ORDER BY created_at, id";

const SAVE: &str = "SELECT celeriac.save_group($1, $2, $3)";

const FIND: &str = "SELECT members, body FROM celeriac.groups WHERE id = $1";

const SWEEP: &str = "DELETE FROM celeriac.groups WHERE id IN (
    SELECT id FROM celeriac.groups WHERE saved_at < clock_timestamp() - make_interval(secs => $1)
    ORDER BY saved_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Returns the tasks of a workflow in the order of the tree.
pub(super) async fn workflow(connections: &PostgresPool, id: &str, at_most: u32) -> Result<Vec<WorkflowTask>> {
    let failed = |cause| connections.error("reading a workflow", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(WORKFLOW).bind(exact::text(id)).bind(i64::from(at_most));
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    rows.iter().map(task).collect::<sqlx::Result<_>>().map_err(failed)
}

fn task(row: &PgRow) -> sqlx::Result<WorkflowTask> {
    let time = |column: usize| row.try_get::<Option<Time>, _>(column).map(|time| time.map(|Time(time)| time));
    let kind: Option<String> = row.try_get(7)?;
    let message: Option<String> = row.try_get(8)?;
    Ok(WorkflowTask {
        depth: u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX),
        id: row.try_get(1)?,
        parent_id: row.try_get(2)?,
        group_id: row.try_get(3)?,
        name: row.try_get(4)?,
        state: read::state(row, 5)?,
        attempts: u32::try_from(row.try_get::<i64, _>(6)?).unwrap_or(u32::MAX),
        failure: kind.map(|kind| Failure::new(kind, message.unwrap_or_default())),
        sent_at: time(9)?,
        started_at: time(10)?,
        finished_at: time(11)?,
        runtime: row.try_get(12)?,
    })
}

/// Returns the chords among these groups.
pub(super) async fn chords(connections: &PostgresPool, groups: &[String]) -> Result<Vec<WorkflowChord>> {
    let failed = |cause| connections.error("reading chords", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(CHORDS).bind(groups);
    let answer = connections.within(query.fetch_all(&mut lease.connection)).await;
    let rows = lease.conclude(answer).map_err(failed)?;
    let chord = |row: &PgRow| -> sqlx::Result<_> {
        let number =
            |column: usize| row.try_get::<i64, _>(column).map(|number| u64::try_from(number).unwrap_or_default());
        Ok(WorkflowChord {
            id: row.try_get(0)?,
            size: number(1)?,
            ok: number(2)?,
            failed: number(3)?,
            body: row.try_get(4)?,
            fired_at: row.try_get::<Option<Time>, _>(5)?.map(|Time(time)| time),
            error: row.try_get(6)?,
        })
    };
    rows.iter().map(chord).collect::<sqlx::Result<_>>().map_err(failed)
}

/// Saves the ids of a group, by a function that may do nothing else.
pub(super) async fn save(connections: &PostgresPool, group: &SavedGroup) -> Result<()> {
    let query = sqlx::query(SAVE).bind(&group.id).bind(&group.members).bind(&group.body);
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("saving a group", cause))
}

/// Returns a group that was saved.
pub(super) async fn find(connections: &PostgresPool, id: &str) -> Result<Option<SavedGroup>> {
    let failed = |cause| connections.error("reading a group", cause);
    let mut lease = connections.lease().await?;
    let query = sqlx::query(FIND).bind(exact::text(id));
    let answer = connections.within(query.fetch_optional(&mut lease.connection)).await;
    let Some(row) = lease.conclude(answer).map_err(failed)? else { return Ok(None) };
    let members = row.try_get(0).map_err(failed)?;
    Ok(Some(SavedGroup { id: id.to_owned(), members, body: row.try_get(1).map_err(failed)? }))
}

/// Deletes groups that were saved longer ago than `keep`, and returns their number.
pub(super) async fn sweep(connections: &PostgresPool, keep: Duration, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query(SWEEP).bind(keep.as_secs_f64()).bind(i64::from(at_most));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    let done = lease.conclude(answer).map_err(|cause| connections.error("deleting old groups", cause))?;
    Ok(done.rows_affected())
}
