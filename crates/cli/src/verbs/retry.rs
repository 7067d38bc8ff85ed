//! `retry`: sends failed tasks anew with the arguments of their rows, after a confirmation.

use std::collections::BTreeMap;
use std::fmt::Write;

use celeriac_results::{FailedTask, Operator, PostgresBackend};
use serde::Serialize;

use crate::args::{CommandName, RetryArgs};
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::failures::task_pattern;
use crate::verbs::query::postgres;
use crate::waiting;

/// Tasks retried in one transaction, which has one audit row.
const BATCH: usize = 500;

/// The tasks that are to be retried.
#[derive(Debug, Default, Serialize)]
struct Selection {
    matching: usize,
    /// Number of tasks whose rows do not hold their arguments.
    without_arguments: usize,
    tasks: BTreeMap<String, usize>,
    #[serde(skip)]
    ids: Vec<String>,
}

/// A task that was not retried.
#[derive(Debug, Serialize)]
struct RefusedRetry {
    id: String,
    reason: String,
}

/// The outcome.
#[derive(Debug, Default, Serialize)]
struct RetryOutcome {
    retried: usize,
    refused: Vec<RefusedRetry>,
}

pub(crate) async fn run(program: &Program, args: RetryArgs, name: &CommandName, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    let outcome = match postgres(program, &client) {
        Ok(store) => retry(store, args, name, json).await,
        Err(error) => Err(error),
    };
    client.close().await;
    outcome
}

async fn retry(store: &PostgresBackend, args: RetryArgs, name: &CommandName, json: bool) -> Result<(), Error> {
    let (dry_run, yes, by_id) = (args.dry_run, args.yes, args.failed_since.is_none());
    let chosen = select(store, args).await?;
    if dry_run {
        output::answer(json, &chosen, || format!("would retry {}", chosen.text()));
        return Ok(());
    }
    // An id is a choice already. Without a task there is nothing to confirm.
    if !by_id && !yes && chosen.matching > 0 {
        output::notice(chosen.text().trim_end());
        output::confirm(&format!("retry {}?", tasks(chosen.matching)))?;
    }
    let operator = Operator::of_process(name.with_version());
    let outcome = send(store, &operator, &chosen.ids).await.map_err(Error::Results)?;
    output::answer(json, &outcome, || match outcome.retried {
        0 => "retried no task".to_owned(),
        count => format!("retried {}: a relay sends them", tasks(count)),
    });
    match outcome.refused.into_iter().next() {
        None => Ok(()),
        Some(RefusedRetry { id, reason }) => Err(Error::Data { what: format!("task {id}"), reason }),
    }
}

/// Returns the tasks that the flags select.
async fn select(store: &PostgresBackend, args: RetryArgs) -> Result<Selection, Error> {
    let Some(since) = args.failed_since else {
        return Ok(Selection { matching: args.ids.len(), ids: args.ids, ..Selection::default() });
    };
    let pattern = args.task.as_deref().map(task_pattern).transpose()?;
    let limit = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let mut chosen = Selection::default();
    let failed = store.failed(since).await.map_err(Error::Results)?;
    let is_meant = |task: &FailedTask| {
        pattern.as_ref().is_none_or(|pattern| pattern.matches(&task.name))
            && args.fingerprint.as_ref().is_none_or(|fingerprint| *fingerprint == task.fingerprint)
    };
    for task in failed.into_iter().filter(is_meant) {
        if !task.has_arguments {
            chosen.without_arguments += 1;
        } else if chosen.matching < limit {
            chosen.matching += 1;
            *chosen.tasks.entry(task.name).or_default() += 1;
            chosen.ids.push(task.id);
        }
    }
    Ok(chosen)
}

/// Retries tasks in batches. If a batch is refused, each of its tasks is retried by itself.
async fn send(store: &PostgresBackend, operator: &Operator, ids: &[String]) -> celeriac_results::Result<RetryOutcome> {
    let mut outcome = RetryOutcome::default();
    for batch in ids.chunks(BATCH) {
        if store.retry(operator, batch).await?.is_none() {
            outcome.retried += batch.len();
            continue;
        }
        for id in batch {
            match store.retry(operator, std::slice::from_ref(id)).await? {
                None => outcome.retried += 1,
                Some(reason) => outcome.refused.push(RefusedRetry { id: id.clone(), reason }),
            }
        }
    }
    Ok(outcome)
}

impl Selection {
    fn text(&self) -> String {
        let mut text = format!("{}\n", tasks(self.matching));
        for (name, count) in &self.tasks {
            let _ = writeln!(text, "{count:>9} {}", output::one_line(name));
        }
        if self.without_arguments > 0 {
            let _ =
                writeln!(text, "{} more have no arguments in their rows: see `dead replay`", self.without_arguments);
        }
        text
    }
}

fn tasks(count: usize) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}
