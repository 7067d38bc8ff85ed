//! `logs`: shows the log lines that `results.logs` keeps of a task's attempts.

use celeriac_results::{AttemptLog, Outcomes as _, PostgresBackend};
use serde::Serialize;

use crate::args::LogsArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::query::postgres;
use crate::verbs::result::nothing;
use crate::waiting;

/// The log lines of an attempt, as printed.
#[derive(Debug, Serialize)]
struct ShownLog {
    attempt: u32,
    replays: u32,
    worker: String,
    lines: usize,
    left_out: usize,
    text: String,
}

impl From<AttemptLog> for ShownLog {
    fn from(AttemptLog { replays, attempt, worker, log }: AttemptLog) -> Self {
        Self { attempt, replays, worker, lines: log.lines, left_out: log.left_out, text: log.text }
    }
}

impl ShownLog {
    fn text(&self) -> String {
        let Self { attempt, replays, worker, text, .. } = self;
        let after = match replays {
            0 => String::new(),
            1 => " after 1 replay".to_owned(),
            more => format!(" after {more} replays"),
        };
        format!("attempt {attempt}{after} on {}\n  {}", output::one_line(worker), output::indented(text, 2))
    }
}

pub(crate) async fn run(program: &Program, args: &LogsArgs, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    let shown = match postgres(program, &client) {
        Ok(store) => show(program, store, args, json).await,
        Err(error) => Err(error),
    };
    client.close().await;
    shown
}

async fn show(program: &Program, store: &PostgresBackend, args: &LogsArgs, json: bool) -> Result<(), Error> {
    let LogsArgs { id, attempt } = args;
    let mut logs = store.logs(id).await.map_err(Error::Results)?;
    logs.retain(|log| attempt.is_none_or(|attempt| log.attempt == attempt));
    if logs.is_empty() {
        let row = store.find(id).await.map_err(Error::Results)?;
        let reason = if row.is_some() { nothing_kept(*attempt) } else { nothing(program) };
        return Err(Error::Data { what: format!("task {id}"), reason });
    }
    let shown: Vec<_> = logs.into_iter().map(ShownLog::from).collect();
    output::answer(json, &shown, || shown.iter().map(ShownLog::text).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// Returns the reason of a task without log lines.
fn nothing_kept(attempt: Option<u32>) -> String {
    let of = attempt.map_or_else(String::new, |attempt| format!(" of attempt {attempt}"));
    format!("no log lines{of} are kept: it logged none, or results.logs was not set in its worker")
}
