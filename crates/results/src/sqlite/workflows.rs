//! Workflows: table `groups`, and the trees of table `tasks`.

use std::time::Duration;

use celeriac_protocol::Failure;
use celeriac_telemetry::clock;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::{read, write};
use crate::workflows::{SavedGroup, WorkflowChord, WorkflowTask};

/// As in Postgres. The path is text.
const WORKFLOW: &str = "WITH RECURSIVE tree (depth, path, id, root_id) AS (
    SELECT 0, '/' || id || '/', id, coalesce(root_id, id) FROM tasks
    WHERE id = (SELECT coalesce(root_id, id) FROM tasks WHERE id = ?1)
        OR group_id = ?1 AND NOT EXISTS (
            SELECT 1 FROM tasks AS parent WHERE parent.id = tasks.parent_id AND parent.group_id = ?1
        )
    UNION ALL
    SELECT depth + 1, path || child.id || '/', child.id, child.root_id
    FROM tree JOIN tasks AS child ON child.parent_id = tree.id
    WHERE child.root_id = tree.root_id AND child.root_id <> child.id
        AND instr(tree.path, '/' || child.id || '/') = 0
)
SELECT depth, id, parent_id, group_id, name, state, attempts, error_kind, error_message, sent_at, started_at,
       finished_at, runtime
FROM tree JOIN tasks USING (id)
ORDER BY path
LIMIT ?2";

const CHORDS: &str = "SELECT id, size, coalesce(ok, 0), coalesce(failed, 0), body, fired_at, error
FROM joins LEFT JOIN tallies ON join_id = id
WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY created_at, id";

const SAVE: &str = "INSERT INTO groups (id, members, body, saved_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (id) DO UPDATE SET saved_at = excluded.saved_at";

const FIND: &str = "SELECT members, body FROM groups WHERE id = ?1";

const SWEEP: &str =
    "DELETE FROM groups WHERE id IN (SELECT id FROM groups WHERE saved_at < ?1 ORDER BY saved_at LIMIT ?2)";

/// Returns the tasks of a workflow in the order of the tree.
pub(super) async fn workflow(pool: &SqlitePool, id: &str, at_most: u32) -> sqlx::Result<Vec<WorkflowTask>> {
    let rows = sqlx::query(WORKFLOW).bind(id).bind(at_most).fetch_all(pool).await?;
    rows.iter().map(task).collect()
}

fn task(row: &SqliteRow) -> sqlx::Result<WorkflowTask> {
    let kind: Option<String> = row.try_get(7)?;
    let message: Option<String> = row.try_get(8)?;
    Ok(WorkflowTask {
        depth: row.try_get(0)?,
        id: row.try_get(1)?,
        parent_id: row.try_get(2)?,
        group_id: row.try_get(3)?,
        name: row.try_get(4)?,
        state: read::state(row, 5)?,
        attempts: row.try_get(6)?,
        failure: kind.map(|kind| Failure::new(kind, message.unwrap_or_default())),
        sent_at: read::time(row, 9)?,
        started_at: read::time(row, 10)?,
        finished_at: read::time(row, 11)?,
        runtime: row.try_get(12)?,
    })
}

/// Returns the chords among these groups.
pub(super) async fn chords(pool: &SqlitePool, groups: &[String]) -> sqlx::Result<Vec<WorkflowChord>> {
    let rows = sqlx::query(CHORDS).bind(list(groups)).fetch_all(pool).await?;
    let chord = |row: &SqliteRow| -> sqlx::Result<_> {
        let number =
            |column: usize| row.try_get::<i64, _>(column).map(|number| u64::try_from(number).unwrap_or_default());
        Ok(WorkflowChord {
            id: row.try_get(0)?,
            size: number(1)?,
            ok: number(2)?,
            failed: number(3)?,
            body: row.try_get(4)?,
            fired_at: read::time(row, 5)?,
            error: row.try_get(6)?,
        })
    };
    rows.iter().map(chord).collect()
}

fn list(ids: &[String]) -> String {
    serde_json::Value::from(ids).to_string()
}

/// Saves the ids of a group.
pub(super) async fn save(pool: &SqlitePool, group: &SavedGroup) -> sqlx::Result<()> {
    let query = sqlx::query(SAVE).bind(&group.id).bind(list(&group.members)).bind(&group.body);
    query.bind(write::iso(clock::now())).execute(pool).await.map(drop)
}

/// Returns a group that was saved.
pub(super) async fn find(pool: &SqlitePool, id: &str) -> sqlx::Result<Option<SavedGroup>> {
    let Some(row) = sqlx::query(FIND).bind(id).fetch_optional(pool).await? else { return Ok(None) };
    let members: String = row.try_get(0)?;
    let members = serde_json::from_str(&members).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Some(SavedGroup { id: id.to_owned(), members, body: row.try_get(1)? }))
}

/// Deletes groups that were saved longer ago than `keep`, and returns their number.
pub(super) async fn sweep(pool: &SqlitePool, keep: Duration, at_most: u32) -> sqlx::Result<u64> {
    let before = clock::now().checked_sub(keep).unwrap_or(Timestamp::MIN);
    Ok(sqlx::query(SWEEP).bind(write::iso(before)).bind(at_most).execute(pool).await?.rows_affected())
}
