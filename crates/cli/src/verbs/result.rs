//! `result`: shows the recorded outcome of a task, or waits for it.

use std::pin::pin;
use std::time::Duration;

use celeriac_client::TaskHandle;
use celeriac_protocol::TaskState;
use celeriac_results::{AttemptRecord, TaskRecord};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use crate::args::ResultArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

/// Time between two looks at the attempts of a task that is followed.
const LOOK: Duration = Duration::from_millis(500);

/// Time until a task that is followed without `--wait` counts as lost.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// An attempt, as printed while its task is followed.
#[derive(Debug, Serialize)]
struct FollowedAttempt {
    attempt: u32,
    replays: u32,
    state: TaskState,
    worker: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<celeriac_protocol::Failure>,
    next_at: Option<String>,
}

/// The outcome of a task, as printed.
#[derive(Debug, Serialize)]
pub(crate) struct StoredResult {
    id: String,
    name: String,
    state: TaskState,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<celeriac_protocol::Failure>,
    queue: String,
    worker: String,
    attempts: u32,
    finished_at: Option<String>,
    runtime_seconds: Option<f64>,
    trace_id: Option<String>,
}

impl From<TaskRecord> for StoredResult {
    fn from(row: TaskRecord) -> Self {
        Self {
            id: row.id,
            name: row.name,
            state: row.state,
            result: row.result.as_deref().and_then(document),
            error: row.failure,
            queue: row.queue.to_string(),
            worker: row.worker.to_string(),
            attempts: row.attempts,
            finished_at: row.finished_at.map(|time| time.to_string()),
            runtime_seconds: row.runtime.map(|runtime| runtime.as_secs_f64()),
            trace_id: row.trace_id,
        }
    }
}

/// Returns a result as JSON. Python's `NaN` and `Infinity` are not JSON, so such a result becomes
/// text.
fn document(result: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(result.to_owned()).or_else(|_| serde_json::value::to_raw_value(result)).ok()
}

impl StoredResult {
    pub(crate) fn print(self, json: bool) -> Result<(), Error> {
        output::answer(json, &self, || self.text());
        let Self { id, state, error, .. } = self;
        match state {
            TaskState::Failure | TaskState::Revoked | TaskState::Rejected => {
                Err(celeriac_client::Error::of_end(id, state, error).into())
            }
            _ => Ok(()),
        }
    }

    fn text(&self) -> String {
        let outcome = match (&self.result, &self.error) {
            (Some(result), _) => result.get().to_owned(),
            (None, Some(error)) => output::indented(&error.to_string(), 2).into_owned(),
            (None, None) => String::new(),
        };
        let Self { id, name, state, attempts, worker, .. } = self;
        let [id, name, worker] = [id, name, worker].map(|text| output::one_line(text));
        if worker.is_empty() {
            // A reply holds nothing more.
            return format!("{id} {state}\n{outcome}");
        }
        let attempts = if *attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
        format!("{id} {name} {state} after {attempts} on {worker}\n{outcome}")
    }
}

pub(crate) async fn run(program: &Program, args: &ResultArgs, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    if client.results().is_none() {
        // A reply goes to the sender of the task, which is another process.
        client.close().await;
        return Err(celeriac_client::Error::NoResults.into());
    }
    let handle = client.handle::<serde_json::Value>(args.id.as_str());
    let row = match (args.follow, args.wait) {
        (true, wait) => Some(follow(&handle, wait.unwrap_or(FOREVER), json).await?),
        (false, Some(wait)) => Some(handle.wait_timeout(wait).await?),
        (false, None) => handle.record().await?,
    };
    let outcome = match row {
        Some(row) => StoredResult::from(row).print(json),
        None => {
            Err(Error::Data { what: format!("task {}", args.id), reason: format!("{}; see --wait", nothing(program)) })
        }
    };
    client.close().await;
    outcome
}

/// Prints each attempt of a task that is followed by another one, until the task has ended.
async fn follow(handle: &TaskHandle<serde_json::Value>, patience: Duration, json: bool) -> Result<TaskRecord, Error> {
    let mut ended = pin!(handle.wait_timeout(patience));
    let mut printed = 0;
    loop {
        let row = tokio::select! {
            row = &mut ended => Some(row?),
            () = sleep(LOOK) => None,
        };
        let attempts = handle.attempts().await?;
        for attempt in attempts.iter().skip(printed).filter(|attempt| attempt.state == TaskState::Retry) {
            let shown = FollowedAttempt::from(attempt);
            output::answer(json, &shown, || shown.text());
        }
        printed = attempts.len();
        if let Some(row) = row {
            return Ok(row);
        }
    }
}

impl From<&AttemptRecord> for FollowedAttempt {
    fn from(attempt: &AttemptRecord) -> Self {
        Self {
            attempt: attempt.attempt,
            replays: attempt.replays,
            state: attempt.state,
            worker: attempt.worker.to_string(),
            error: attempt.failure.clone(),
            next_at: attempt.next_at.map(|time| time.to_string()),
        }
    }
}

impl FollowedAttempt {
    fn text(&self) -> String {
        let Self { attempt, state, worker, error, next_at, .. } = self;
        let error = error.as_ref().map(ToString::to_string).unwrap_or_default();
        let next = next_at.as_ref().map(|time| format!(", next at {time}")).unwrap_or_default();
        format!("attempt {attempt} {state} on {}: {}{next}", output::one_line(worker), output::one_line(&error))
    }
}

/// Returns the reason of an id without a row.
pub(crate) fn nothing(program: &Program) -> String {
    let store = program.results.url.masked();
    format!("no result is recorded in {store}: it waits, runs, ignores its result, or was sent elsewhere")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_is_json_in_python_alone_is_shown_as_text() {
        assert_eq!(document("[1,2]").unwrap().get(), "[1,2]");
        assert_eq!(document("[NaN]").unwrap().get(), "\"[NaN]\"");
    }
}
