//! Writes many records in one statement.

use std::borrow::Cow;
use std::collections::HashSet;

use celeriac_protocol::Failure;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::OutcomesNotAnnounced;
use sqlx::Row as _;
use sqlx::postgres::{PgBindIterExt, PgConnection, PgRow};

use super::fault;
use super::notification::{self, OutcomeSeal};
use super::pool::PostgresPool;
use super::read;
use super::time::Time;
use crate::error::Result;
use crate::error_args;
use crate::exact::{self, Document};
use crate::message_text::MessageText;
use crate::outcomes::Recorded;
use crate::record::TaskRecord;
use crate::task_end::TaskEnd;

const RECORD: &str = concat!(include_str!("record.sql"), include_str!("answer.sql"));

/// A separate statement, because most batches have no failed attempt.
const RECORD_WITH_ATTEMPTS: &str =
    concat!(include_str!("record.sql"), include_str!("attempts.sql"), include_str!("answer.sql"));

/// Separate too, because log lines are kept by choice.
const RECORD_WITH_LOGS: &str = concat!(
    include_str!("record.sql"),
    include_str!("attempts.sql"),
    include_str!("logs.sql"),
    include_str!("answer.sql")
);

/// Separate too, because most tasks are members of no join. It has all parts.
const RECORD_WITH_ARRIVALS: &str = concat!(
    include_str!("record.sql"),
    include_str!("attempts.sql"),
    include_str!("logs.sql"),
    include_str!("arrivals.sql"),
    include_str!("answer.sql")
);

/// Writes records, notifies the waits, and returns the result of each, in order.
pub(super) async fn record(
    connections: &PostgresPool,
    seal: &OutcomeSeal,
    records: &[TaskRecord],
) -> Result<Vec<Recorded>> {
    let mut answers: Vec<_> = records.iter().map(refusal).collect();
    let mut todo: Vec<usize> = (0..records.len()).filter(|&index| answers[index] == Recorded::Stored).collect();
    // Every writer locks its rows in the same order, and duplicates are adjacent. The sort is
    // stable.
    todo.sort_by(|&left, &right| records[left].id.cmp(&records[right].id));
    while !todo.is_empty() {
        let later = take_duplicates(records, &mut todo);
        write(connections, seal, records, todo, &mut answers).await?;
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

/// Removes all but the first record of each id, because one statement cannot write a row twice.
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

/// Writes records of different ids. After a refusal it writes each half separately, until the
/// refused record is alone.
async fn write(
    connections: &PostgresPool,
    seal: &OutcomeSeal,
    records: &[TaskRecord],
    todo: Vec<usize>,
    answers: &mut [Recorded],
) -> Result<()> {
    let mut parts = vec![todo];
    while let Some(part) = parts.pop() {
        match insert_and_notify(connections, seal, records, &part).await? {
            InsertResult::All => {}
            InsertResult::Some(stored) => {
                let kept: Vec<usize> = part.into_iter().filter(|&index| !stored.contains(&records[index].id)).collect();
                let gone = look_up(connections, records, kept, answers).await?;
                if !gone.is_empty() {
                    parts.push(gone);
                }
            }
            InsertResult::Refused(reason) => match part[..] {
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

enum InsertResult {
    All,
    Some(HashSet<String>),
    Refused(String),
}

/// Inserts rows, and notifies the waits. If the server refuses, inserts them without a
/// notification: its queue of notifications may be full, because one session does not read them.
async fn insert_and_notify(
    connections: &PostgresPool,
    seal: &OutcomeSeal,
    records: &[TaskRecord],
    part: &[usize],
) -> Result<InsertResult> {
    let ended = part.iter().map(|&index| &records[index]).filter(|record| record.state.is_final());
    let payloads = notification::payloads(seal, ended.map(TaskEnd::of));
    let is_announced = !payloads.is_empty();
    match insert(connections, statement(records, part, payloads, "")).await? {
        InsertResult::Refused(reason) if is_announced => {
            let silent = insert(connections, statement(records, part, Vec::new(), "")).await?;
            if !matches!(silent, InsertResult::Refused(_)) {
                OutcomesNotAnnounced { error: &reason }.emit();
            }
            Ok(silent)
        }
        result => Ok(result),
    }
}

async fn insert(connections: &PostgresPool, statement: Statement<'_>) -> Result<InsertResult> {
    let mut lease = connections.lease().await?;
    let answer = connections.within(statement.fetch_one(&mut lease.connection)).await;
    match lease.conclude(answer).and_then(|row| stored(&row)) {
        Ok(None) => Ok(InsertResult::All),
        Ok(Some(ids)) => Ok(InsertResult::Some(ids.into_iter().collect())),
        Err(cause) => match fault::refusal(&cause) {
            Some(reason) => Ok(InsertResult::Refused(reason)),
            None => Err(connections.error("recording outcomes", cause)),
        },
    }
}

/// Returns the ids that were written, or `None` if all of them were.
fn stored(row: &PgRow) -> sqlx::Result<Option<Vec<String>>> {
    row.try_get(0)
}

type Statement<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// A record, with its documents in their columns.
struct RecordRow<'a> {
    record: &'a TaskRecord,
    args: Document<'a>,
    kwargs: Document<'a>,
    result: Document<'a>,
    next: Option<MessageText<'a>>,
    /// The arguments of the exception.
    error_args: Option<String>,
}

impl<'a> RecordRow<'a> {
    fn new(record: &'a TaskRecord) -> Self {
        let [args, kwargs, result] =
            [&record.args, &record.kwargs, &record.result].map(|document| Document::new(document.as_deref()));
        let next = record.next_attempt.as_deref().and_then(MessageText::of_next_attempt);
        let error_args = record.failure.as_ref().and_then(error_args::to_text);
        Self { record, args, kwargs, result, next, error_args }
    }

    fn failure(&self, part: impl Fn(&'a Failure) -> Option<&'a str>) -> Option<Cow<'a, str>> {
        self.record.failure.as_ref().and_then(part).map(exact::text)
    }
}

/// Announces tasks with stored rows. Its transaction is separate and no caller waits for it,
/// because the server serializes the commits of transactions that notify.
pub(super) async fn announce(connections: &PostgresPool, seal: &OutcomeSeal, ends: Vec<TaskEnd>) -> Result<()> {
    const ANNOUNCE: &str = "SELECT set_config('synchronous_commit', 'off', true),
        (SELECT count(pg_notify('celeriac_finished', payload)) FROM unnest($1::text[]) AS ended (payload))";
    let mut lease = connections.lease().await?;
    let query = sqlx::query(ANNOUNCE).bind(notification::payloads(seal, ends.into_iter()));
    let answer = connections.within(query.execute(&mut lease.connection)).await;
    lease.conclude(answer).map(drop).map_err(|cause| connections.error("announcing outcomes", cause))
}

/// Writes a record inside the transaction of this name. Returns `true` if it is stored there. The
/// end of the task is not announced here: see [`announce`].
pub(super) async fn record_in(connection: &mut PgConnection, name: &str, record: &TaskRecord) -> sqlx::Result<bool> {
    let statement = statement(std::slice::from_ref(record), &[0], Vec::new(), name);
    Ok(stored(&statement.fetch_one(connection).await?)?.is_none())
}

/// Returns the statement. `transaction` is the name of its transaction, if it has one.
fn statement(records: &[TaskRecord], part: &[usize], payloads: Vec<String>, transaction: &str) -> Statement<'static> {
    let rows: Vec<_> = part.iter().map(|&index| RecordRow::new(&records[index])).collect();
    // A column without values is sent as an empty array, which costs the server less than unpacking
    // nulls.
    macro_rules! sparse {
        (|$row:ident| $value:expr) => {{
            let some = rows.iter().any(|$row| $value.is_some());
            rows.iter().take(if some { usize::MAX } else { 0 }).map(|$row| $value).bind_iter()
        }};
    }
    macro_rules! full {
        (|$row:ident| $value:expr) => {
            rows.iter().map(|$row| $value).bind_iter()
        };
    }
    let has_failed = rows.iter().any(|row| row.record.is_failed_attempt());
    let has_logs = rows.iter().any(|row| row.record.log.is_some());
    let has_members = rows.iter().any(|row| row.record.member.is_some());
    let sql = match (has_members, has_logs, has_failed) {
        (true, ..) => RECORD_WITH_ARRIVALS,
        (false, true, _) => RECORD_WITH_LOGS,
        (false, false, true) => RECORD_WITH_ATTEMPTS,
        (false, false, false) => RECORD,
    };
    let statement = sqlx::query(sql)
        .bind(full!(|row| row.record.id.as_str()))
        .bind(full!(|row| exact::text(&row.record.name)))
        .bind(full!(|row| row.record.state.as_str()))
        .bind(sparse!(|row| row.args.json))
        .bind(sparse!(|row| row.kwargs.json))
        .bind(sparse!(|row| row.result.json))
        .bind(sparse!(|row| row.args.text))
        .bind(sparse!(|row| row.kwargs.text))
        .bind(sparse!(|row| row.result.text))
        .bind(sparse!(|row| row.failure(|failure| Some(&failure.kind))))
        .bind(sparse!(|row| row.failure(|failure| Some(&failure.message))))
        .bind(sparse!(|row| row.failure(|failure| failure.trace.as_deref())))
        .bind(full!(|row| exact::text(&row.record.queue)))
        .bind(full!(|row| exact::text(&row.record.exchange)))
        .bind(full!(|row| exact::text(&row.record.routing_key)))
        .bind(full!(|row| exact::text(&row.record.worker)))
        .bind(full!(|row| i64::from(row.record.attempts)))
        .bind(sparse!(|row| row.record.root_id.as_deref().map(exact::text)))
        .bind(sparse!(|row| row.record.parent_id.as_deref().map(exact::text)))
        .bind(sparse!(|row| row.record.group_id.as_deref().map(exact::text)))
        .bind(sparse!(|row| row.record.eta.map(Time)))
        .bind(sparse!(|row| row.record.expires.map(Time)))
        .bind(sparse!(|row| row.record.sent_at.map(Time)))
        .bind(sparse!(|row| row.record.received_at.map(Time)))
        .bind(sparse!(|row| row.record.started_at.map(Time)))
        .bind(sparse!(|row| row.record.finished_at.map(Time)))
        .bind(sparse!(|row| row.record.runtime.map(exact::seconds)))
        .bind(sparse!(|row| row.record.trace_id.as_deref().map(exact::text)))
        .bind(sparse!(|row| (row.record.replays > 0).then(|| i64::from(row.record.replays))))
        .bind(payloads)
        .bind(transaction.to_owned())
        .bind(sparse!(|row| row.next.as_ref().map(|next| next.headers.as_str())))
        .bind(sparse!(|row| row.next.as_ref().map(|next| next.properties.as_str())))
        .bind(sparse!(|row| row.next.as_ref().map(|next| next.body)))
        .bind(sparse!(|row| row.failure(|failure| failure.module.as_deref())))
        .bind(sparse!(|row| row.error_args.as_deref()))
        .bind(sparse!(|row| row.record.custom_state.as_deref().map(exact::text)));
    if !has_failed && !has_logs && !has_members {
        return statement;
    }
    let statement = statement.bind(full!(|row| row.record.is_failed_attempt()));
    if !has_logs && !has_members {
        return statement;
    }
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let statement = statement
        .bind(full!(|row| row.record.log.as_ref().map(|log| exact::text(&log.text))))
        .bind(full!(|row| row.record.log.as_ref().map(|log| count(log.lines))))
        .bind(full!(|row| row.record.log.as_ref().map(|log| count(log.left_out))));
    if !has_members {
        return statement;
    }
    statement
        .bind(full!(|row| row.record.member.as_ref().map(|member| exact::text(&member.join))))
        .bind(full!(|row| row.record.member.as_ref().map(|member| member.index)))
}

/// Reads the states of the rows that were kept, and answers those that have been deleted since.
async fn look_up(
    connections: &PostgresPool,
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
