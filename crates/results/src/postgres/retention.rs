//! Deletes rows of tasks after their time: by the rules of `results.retention_rules`, and for
//! operators.

use std::collections::BTreeMap;
use std::time::Duration;

use celeriac_protocol::TaskState;
use sqlx::Row as _;

use super::pool::PostgresPool;
use super::time::Time;
use crate::error::Result;
use crate::options::RetentionRule;

/// Rows read in one statement. At most as many are deleted.
const PIECE: i64 = 5_000;

/// Age of rows that are read again by each sweep: a row may be recorded some time after its end.
const LATE: Duration = Duration::from_secs(3600);

/// Deletes the rows of tasks that ended longer ago than one time for all.
pub(super) const SWEEP_ENDED: &str = "DELETE FROM celeriac.tasks WHERE id IN (
    SELECT id FROM celeriac.tasks
    WHERE finished_at < clock_timestamp() - make_interval(secs => $1) AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
    ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// Deletes the rows of a piece whose rule has this time. Returns the place after the piece.
const SWEEP: &str = include_str!("sweep.sql");

const COUNT: &str = "SELECT count(*) FROM celeriac.tasks
WHERE finished_at < clock_timestamp() - make_interval(secs => $1) AND state = ANY($2) AND name LIKE $3";

const PRUNE: &str = "WITH gone AS (
    DELETE FROM celeriac.tasks WHERE id IN (
        SELECT id FROM celeriac.tasks
        WHERE finished_at < clock_timestamp() - make_interval(secs => $1) AND state = ANY($2) AND name LIKE $3
        ORDER BY finished_at LIMIT $4 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
) SELECT count(*) FROM gone";

/// Tasks that an operator deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PruneFilter {
    /// Ended longer ago than this.
    pub older_than: Duration,
    /// Final states. Empty: all.
    pub states: Vec<TaskState>,
    /// One name, or a glob. `None`: all.
    pub task: Option<String>,
}

/// The places up to which rows were swept, by the time that the rows are kept.
#[derive(Debug, Default)]
pub(super) struct SweptTo(BTreeMap<Duration, Place>);

/// A place in the order of ends and ids.
#[derive(Debug, Clone, Default)]
struct Place {
    finished_at: Option<Time>,
    id: String,
}

/// Deletes the rows whose time is over. Rows that stay are read once for each time, and the last
/// ones again.
pub(super) async fn sweep(
    connections: &PostgresPool,
    default: Duration,
    rules: &[RetentionRule],
    swept: &mut SweptTo,
) -> Result<u64> {
    let mut deleted = 0;
    let mut times: Vec<_> =
        rules.iter().map(|rule| rule.keep).chain([default]).filter(|keep| !keep.is_zero()).collect();
    times.sort_unstable();
    times.dedup();
    for keep in times {
        let mut place = swept.0.get(&keep).cloned().unwrap_or_default();
        loop {
            let piece = sweep_piece(connections, (default, rules), keep, &place).await?;
            deleted += piece.deleted;
            place = piece.end;
            if piece.read < PIECE {
                break;
            }
        }
        let early = place.finished_at.and_then(|Time(end)| end.checked_sub(LATE).ok());
        swept.0.insert(keep, Place { finished_at: early.map(Time), id: String::new() });
    }
    Ok(deleted)
}

struct Piece {
    read: i64,
    deleted: u64,
    end: Place,
}

async fn sweep_piece(
    connections: &PostgresPool,
    (default, rules): (Duration, &[RetentionRule]),
    keep: Duration,
    from: &Place,
) -> Result<Piece> {
    let failed = |cause| connections.error("deleting old tasks", cause);
    let tasks: Vec<_> = rules.iter().map(|rule| rule.task.as_deref().map(like)).collect();
    let states: Vec<_> = rules.iter().map(|rule| joined(&rule.states)).collect();
    let keeps: Vec<_> = rules.iter().map(|rule| rule.keep.as_secs_f64()).collect();
    let query = sqlx::query(SWEEP)
        .bind(keep.as_secs_f64())
        .bind(default.as_secs_f64())
        .bind(tasks)
        .bind(states)
        .bind(keeps)
        .bind(from.finished_at)
        .bind(from.id.clone())
        .bind(PIECE);
    let mut lease = connections.lease().await?;
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    let row = lease.conclude(answer).map_err(failed)?;
    let read = || -> sqlx::Result<Piece> {
        let (read, deleted): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let end = match row.try_get::<Option<Time>, _>(2)? {
            Some(finished_at) => Place { finished_at: Some(finished_at), id: row.try_get(3)? },
            None => from.clone(),
        };
        Ok(Piece { read, deleted: u64::try_from(deleted).unwrap_or_default(), end })
    };
    read().map_err(failed)
}

/// Returns the number of tasks that match.
pub(super) async fn count(connections: &PostgresPool, filter: &PruneFilter) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar::<_, i64>(COUNT)
        .bind(filter.older_than.as_secs_f64())
        .bind(names(&filter.states))
        .bind(filter.task.as_deref().map_or_else(|| "%".to_owned(), like));
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    let found = lease.conclude(answer).map_err(|cause| connections.error("counting old tasks", cause))?;
    Ok(u64::try_from(found).unwrap_or_default())
}

/// Deletes at most `at_most` of the tasks that match, the oldest first. Returns their number.
pub(super) async fn prune(connections: &PostgresPool, filter: &PruneFilter, at_most: u32) -> Result<u64> {
    let mut lease = connections.lease().await?;
    let query = sqlx::query_scalar::<_, i64>(PRUNE)
        .bind(filter.older_than.as_secs_f64())
        .bind(names(&filter.states))
        .bind(filter.task.as_deref().map_or_else(|| "%".to_owned(), like))
        .bind(i64::from(at_most));
    let answer = connections.within(query.fetch_one(&mut lease.connection)).await;
    let deleted = lease.conclude(answer).map_err(|cause| connections.error("deleting old tasks", cause))?;
    Ok(u64::try_from(deleted).unwrap_or_default())
}

/// Returns the names of these states, or of all final ones.
fn names(states: &[TaskState]) -> Vec<String> {
    let all = TaskState::ALL.into_iter().filter(|state| state.is_final());
    let wanted = all.filter(|state| states.is_empty() || states.contains(state));
    wanted.map(|state| state.as_str().to_owned()).collect()
}

fn joined(states: &[TaskState]) -> String {
    names(states).join(",")
}

/// Returns the pattern of `LIKE` for a name or a glob.
fn like(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for character in glob.chars() {
        match character {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', character]),
            other => pattern.push(other),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_becomes_a_pattern_of_like() {
        assert_eq!(like("orders.*_v?"), r"orders.%\_v_");
        assert_eq!(like(r"50%\"), r"50\%\\");
    }

    #[test]
    fn no_state_means_every_final_one() {
        assert_eq!(names(&[]).len(), 5);
        assert_eq!(joined(&[TaskState::Failure, TaskState::Retry]), "FAILURE");
    }
}
