//! `retries`: lists tasks whose next attempt is overdue, and sends it again.

use std::fmt::Write;
use std::time::Duration;

use celeriac_client::Client;
use celeriac_config::duration;
use celeriac_protocol::Failure;
use celeriac_results::{OperatorAction, OverdueRetry, PostgresBackend};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::args::CommandName;
use crate::args::{OverdueArgs, RetriesVerb, SendRetriesArgs};
use crate::audit::audited_in;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::query::postgres;
use crate::waiting;

/// Most attempts sent in one transaction.
const PIECE: u64 = 500;

/// Most lines of a dry run without a limit.
const LISTED: u32 = 100;

#[derive(Serialize)]
struct OverdueTask<'a> {
    id: &'a str,
    task: &'a str,
    queue: &'a str,
    attempts: u32,
    due_at: Timestamp,
    overdue_seconds: f64,
    message_kept: bool,
    error: Option<String>,
}

#[derive(Serialize)]
struct SentRetries<'a> {
    sent: usize,
    ids: &'a [String],
}

pub(crate) async fn run(program: &Program, verb: RetriesVerb, name: &CommandName, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    let outcome = match postgres(program, &client) {
        Err(error) => Err(error),
        Ok(store) => match verb {
            RetriesVerb::Overdue(args) => overdue(store, &args, json).await,
            RetriesVerb::Send(args) => Box::pin(send(&client, store, &args, name, json)).await,
        },
    };
    client.close().await;
    outcome
}

async fn overdue(store: &PostgresBackend, args: &OverdueArgs, json: bool) -> Result<(), Error> {
    let ids = (!args.ids.is_empty()).then_some(&args.ids[..]);
    list(store, args.after, ids, args.limit, json).await
}

async fn list(
    store: &PostgresBackend,
    after: Duration,
    ids: Option<&[String]>,
    limit: u32,
    json: bool,
) -> Result<(), Error> {
    let found = store.overdue_retries().list(after, ids, limit).await.map_err(Error::Results)?;
    let tasks: Vec<_> = found.iter().map(shown).collect();
    output::answer(json, &json!({ "overdue": tasks }), || text(&found, limit));
    Ok(())
}

fn shown(retry: &OverdueRetry) -> OverdueTask<'_> {
    let OverdueRetry { id, name, queue, attempts, due_at, overdue, message_kept, failure } = retry;
    OverdueTask {
        id,
        task: name,
        queue,
        attempts: *attempts,
        due_at: *due_at,
        overdue_seconds: overdue.as_secs_f64(),
        message_kept: *message_kept,
        error: failure.as_ref().map(Failure::to_string),
    }
}

fn text(found: &[OverdueRetry], limit: u32) -> String {
    let mut text = String::new();
    for retry in found {
        let OverdueRetry { id, name, queue, attempts, overdue, message_kept, failure, .. } = retry;
        let error = failure.as_ref().map(Failure::to_string).unwrap_or_default();
        let error = error.lines().next().unwrap_or_default();
        let [queue, name, id, error] = [queue, name, id, error].map(output::one_line);
        let overdue = duration::approximate(*overdue);
        let kept = if *message_kept { "" } else { " (message not kept)" };
        let _ = writeln!(text, "{overdue:<10} {queue:<16} {name}[{id}] after attempt {attempts}{kept} {error}");
    }
    let _ = write!(text, "{} overdue", found.len());
    if found.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
        let _ = write!(text, "; limited to {limit}, there may be more (--limit)");
    }
    text
}

async fn send(
    client: &Client,
    store: &PostgresBackend,
    args: &SendRetriesArgs,
    name: &CommandName,
    json: bool,
) -> Result<(), Error> {
    let SendRetriesArgs { ids, all: _, after, limit, dry_run } = args;
    let ids = (!ids.is_empty()).then_some(&ids[..]);
    if *dry_run {
        let limit = limit.map_or(LISTED, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        return list(store, *after, ids, limit, json).await;
    }
    let target = json!({ "ids": ids, "after": duration::format(*after), "limit": limit });
    let action = OperatorAction { name: "retries send", target };
    let mut sent = Vec::new();
    let work = async {
        let outcome = send_all(store, *after, ids, *limit, &mut sent).await;
        (sent.len().try_into().unwrap_or(u64::MAX), outcome)
    };
    let outcome = Box::pin(audited_in(client.results(), name, action, work)).await;
    output::answer(json, &SentRetries { sent: sent.len(), ids: &sent }, || format!("{} sent", sent.len()));
    outcome?;
    if !sent.is_empty() && store.outbox().lag().await.is_ok_and(|lag| !lag.led) {
        let notice = "they are in the outbox, and no process relays: start a worker, or `celeriac relay`";
        output::notice(&name.in_text(notice));
    }
    match ids.and_then(|ids| ids.iter().find(|id| !sent.contains(id))) {
        Some(id) => Err(not_sent(store, *after, id).await),
        None => Ok(()),
    }
}

async fn send_all(
    store: &PostgresBackend,
    after: Duration,
    ids: Option<&[String]>,
    limit: Option<u64>,
    sent: &mut Vec<String>,
) -> Result<(), Error> {
    let mut left = limit.unwrap_or(u64::MAX);
    loop {
        let piece = left.min(PIECE);
        let most = u32::try_from(piece).unwrap_or(u32::MAX);
        let ids = store.overdue_retries().send(after, ids, most).await.map_err(Error::Results)?;
        let number = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        sent.extend(ids);
        left = left.saturating_sub(number);
        if number < piece || left == 0 {
            return Ok(());
        }
    }
}

/// Returns the error of an id whose attempt was not sent.
async fn not_sent(store: &PostgresBackend, after: Duration, id: &str) -> Error {
    let reason = match store.overdue_retries().list(after, Some(&[id.to_owned()]), 1).await {
        Err(error) => return Error::Results(error),
        Ok(found) if found.is_empty() => {
            format!("it has no retry that is overdue for {}", duration::format(after))
        }
        Ok(_) => "the message of its next attempt was not kept: send the task again".to_owned(),
    };
    Error::Data { what: format!("task {id}"), reason }
}
