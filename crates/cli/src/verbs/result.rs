//! `result`: shows the recorded outcome of a task, or waits for it.

use celeriac_protocol::TaskState;
use celeriac_results::TaskRecord;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::ResultArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

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
    let row = match args.wait {
        Some(wait) => Some(handle.wait_timeout(wait).await?),
        None => handle.record().await?,
    };
    let outcome = match row {
        Some(row) => StoredResult::from(row).print(json),
        None => Err(Error::Data { what: format!("task {}", args.id), reason: nothing(program) }),
    };
    client.close().await;
    outcome
}

/// Returns the reason of an id without a row.
fn nothing(program: &Program) -> String {
    let store = program.results.url.masked();
    format!("no result is recorded in {store}: it waits, runs, ignores its result, or was sent elsewhere; see --wait")
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
