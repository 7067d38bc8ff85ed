//! Writes many records in one statement.

use std::collections::HashSet;

use sqlx::Row;
use sqlx::postgres::{PgBindIterExt, PgRow};

use super::connections::Connections;
use super::fault;
use super::read;
use super::time::Time;
use crate::backend::Recorded;
use crate::backends::exact;
use crate::backends::waiting::announced;
use crate::error::Result;
use crate::record::TaskRecord;

const RECORD: &str = include_str!("record.sql");

/// What a notification holds, below Postgres' 8000 bytes.
const LONGEST_PAYLOAD: usize = 7_900;

/// Writes records, and tells what became of each, in their order.
pub(super) async fn record(connections: &Connections, records: &[TaskRecord]) -> Result<Vec<Recorded>> {
    let mut answers: Vec<_> = records.iter().map(refusal).collect();
    let mut todo: Vec<usize> = (0..records.len()).filter(|&index| answers[index] == Recorded::Stored).collect();
    // Every writer locks its rows in the same order, and duplicates are neighbours. The sort is stable.
    todo.sort_by(|&left, &right| records[left].id.cmp(&records[right].id));
    while !todo.is_empty() {
        let later = take_duplicates(records, &mut todo);
        write(connections, records, todo, &mut answers).await?;
        todo = later;
    }
    Ok(answers)
}

fn refusal(record: &TaskRecord) -> Recorded {
    match exact::refusal(record) {
        Some(reason) => Recorded::Refused { reason: reason.to_owned() },
        None => Recorded::Stored,
    }
}

/// Leaves the first of each id: one statement cannot write a row twice.
fn take_duplicates(records: &[TaskRecord], todo: &mut Vec<usize>) -> Vec<usize> {
    let mut later = Vec::new();
    todo.dedup_by(|next, first| {
        let duplicate = records[*next].id == records[*first].id;
        if duplicate {
            later.push(*next);
        }
        duplicate
    });
    later
}

/// Writes records of different ids. What the database refuses is narrowed down by halves.
async fn write(
    connections: &Connections,
    records: &[TaskRecord],
    todo: Vec<usize>,
    answers: &mut [Recorded],
) -> Result<()> {
    let mut parts = vec![todo];
    while let Some(part) = parts.pop() {
        match insert(connections, records, &part).await? {
            Written::All => {}
            Written::Some(stored) => {
                let kept: Vec<usize> = part.into_iter().filter(|&index| !stored.contains(&records[index].id)).collect();
                let gone = look_up(connections, records, kept, answers).await?;
                if !gone.is_empty() {
                    parts.push(gone);
                }
            }
            Written::Refused(reason) => match part[..] {
                [index] => answers[index] = Recorded::Refused { reason },
                _ => {
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.extend([right.to_vec(), left.to_vec()]);
                }
            },
        }
    }
    Ok(())
}

enum Written {
    All,
    Some(HashSet<String>),
    Refused(String),
}

async fn insert(connections: &Connections, records: &[TaskRecord], part: &[usize]) -> Result<Written> {
    let mut lease = connections.lease().await?;
    let answer = connections.within(statement(records, part).fetch_one(&mut lease.connection)).await;
    match lease.conclude(answer).and_then(|row| stored(&row)) {
        Ok(None) => Ok(Written::All),
        Ok(Some(ids)) => Ok(Written::Some(ids.into_iter().collect())),
        Err(cause) => match fault::refusal(&cause) {
            Some(reason) => Ok(Written::Refused(reason)),
            None => Err(connections.error("recording outcomes", cause)),
        },
    }
}

/// The ids that were written; `None` when all of them were.
fn stored(row: &PgRow) -> sqlx::Result<Option<Vec<String>>> {
    row.try_get(0)
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn statement(records: &[TaskRecord], part: &[usize]) -> Statement<'static> {
    let rows = || part.iter().map(|&index| &records[index]);
    macro_rules! column {
        (|$record:ident| $value:expr) => {
            rows().map(|$record| $value).bind_iter()
        };
    }
    sqlx::query(RECORD)
        .bind(column!(|record| record.id.as_str()))
        .bind(column!(|record| exact::text(&record.name)))
        .bind(column!(|record| record.state.as_str()))
        .bind(column!(|record| exact::as_json(record.args.as_deref())))
        .bind(column!(|record| exact::as_json(record.kwargs.as_deref())))
        .bind(column!(|record| exact::as_json(record.result.as_deref())))
        .bind(column!(|record| exact::as_text(record.args.as_deref())))
        .bind(column!(|record| exact::as_text(record.kwargs.as_deref())))
        .bind(column!(|record| exact::as_text(record.result.as_deref())))
        .bind(column!(|record| record.failure.as_ref().map(|failure| exact::text(&failure.kind))))
        .bind(column!(|record| record.failure.as_ref().map(|failure| exact::text(&failure.message))))
        .bind(column!(|record| record.failure.as_ref().and_then(|failure| exact::optional_text(failure.trace.as_deref()))))
        .bind(column!(|record| exact::text(&record.queue)))
        .bind(column!(|record| exact::text(&record.exchange)))
        .bind(column!(|record| exact::text(&record.routing_key)))
        .bind(column!(|record| exact::text(&record.worker)))
        .bind(column!(|record| i64::from(record.attempts)))
        .bind(column!(|record| exact::optional_text(record.root_id.as_deref())))
        .bind(column!(|record| exact::optional_text(record.parent_id.as_deref())))
        .bind(column!(|record| exact::optional_text(record.group_id.as_deref())))
        .bind(column!(|record| record.eta.map(Time)))
        .bind(column!(|record| record.expires.map(Time)))
        .bind(column!(|record| record.sent_at.map(Time)))
        .bind(column!(|record| record.received_at.map(Time)))
        .bind(column!(|record| record.started_at.map(Time)))
        .bind(column!(|record| record.finished_at.map(Time)))
        .bind(column!(|record| record.runtime.map(exact::seconds)))
        .bind(column!(|record| exact::optional_text(record.trace_id.as_deref())))
        .bind(announcements(rows()))
}

/// The ids of those that have ended, in as few notifications as hold them.
fn announcements<'a>(records: impl Iterator<Item = &'a TaskRecord>) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    for record in records.filter(|record| record.state.is_final()) {
        let id = announced(&record.id);
        match payloads.last_mut() {
            Some(payload) if payload.len() + 1 + id.len() <= LONGEST_PAYLOAD => {
                payload.push('\n');
                payload.push_str(id);
            }
            _ => payloads.push(id.to_owned()),
        }
    }
    payloads
}

/// Asks for the states that stood in the way. Answers those that have been deleted since.
async fn look_up(
    connections: &Connections,
    records: &[TaskRecord],
    mut kept: Vec<usize>,
    answers: &mut [Recorded],
) -> Result<Vec<usize>> {
    let states = read::states(connections, kept.iter().map(|&index| records[index].id.as_str())).await?;
    kept.retain(|&index| match states.get(&records[index].id) {
        Some(&state) => {
            answers[index] = Recorded::Kept(state);
            false
        }
        None => true,
    });
    Ok(kept)
}
