//! `celery.chord_unlock`: waits for the members of a chord that a Celery client has sent.
//!
//! Clients whose backend has no counter send it before the members, with their ids. Its result is
//! the list of theirs. The body of the chord follows from it as the next step of a chain: see
//! `attempt/celerys_chords.rs`.

use std::time::Duration;

use celeriac_protocol::{Signature, TaskState, Value};
use celeriac_results::TaskRecord;

use crate::follow_up_size::signature_size;
use crate::task::builtin::arguments::TaskArguments;
use crate::task::context::TaskContext;
use crate::task::error::{TaskError, TaskResult};
use crate::task::result::JsonResult;

/// Wait between two looks, unless the message has another one.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Celery's exception for a chord whose body does not run.
const CHORD_ERROR: &str = "ChordError";

/// Returns the results of all members, once all have ended. Until then it is tried again, as in
/// Celery, so that each look may be that of another worker.
pub(super) async fn unlock(ctx: TaskContext, mut given: TaskArguments) -> JsonResult {
    let body = Signature::from_value(given.take("callback", 1)).map_err(|error| wrong(&error.to_string()))?;
    let interval = given.take("interval", 2);
    let most = given.take("max_retries", 3).as_i64();
    let members = given.list("result", 4)?.iter().map(member).collect::<TaskResult<Vec<_>>>()?;
    let environment = &ctx.environment;
    let Some(results) = environment.client.results() else {
        let reason = "this worker has no result store, which would have the results of the members";
        return Err(TaskError::refuse("unsupported", "NotImplementedError", reason.to_owned()));
    };
    let mut rows = Vec::with_capacity(members.len().min(1_024));
    let mut size = signature_size(&body);
    let limit = environment.follow_up_limits.message_size;
    for member in &members {
        match results.find(member).await?.filter(|row| row.state.is_final()) {
            // Larger results are not kept: the chord fails, once all members have ended.
            Some(mut row) => {
                size = size.saturating_add(row.result.as_ref().map_or(0, String::len));
                row.result = row.result.filter(|_| size <= limit);
                rows.push(row);
            }
            None if most.is_some_and(|most| i64::from(ctx.attempt()) > most) => {
                let reason = format!("chord_unlock could not be retried: member {member} has not ended");
                return Err(failed(reason));
            }
            None => return Err(TaskError::retry_in(wait(&interval), format!("member {member} has not ended"))),
        }
    }
    if size > limit {
        let reason = format!("results too large: {size} bytes, the limit is {limit} (broker.max_message_size)");
        return Err(failed(reason));
    }
    match rows.iter().find_map(raised) {
        Some(reason) => Err(failed(reason)),
        None => {
            let results = rows.into_iter().map(|row| row.result.unwrap_or_else(|| "null".to_owned()));
            Ok(format!("[{}]", results.collect::<Vec<_>>().join(",")))
        }
    }
}

/// Returns the end of a member that has not succeeded, as Celery says it.
fn raised(row: &TaskRecord) -> Option<String> {
    let raised = match (row.state, &row.failure) {
        (TaskState::Success, _) => return None,
        (_, Some(failure)) => failure.python_repr(),
        (_, None) => "Ignore()".to_owned(),
    };
    Some(format!("Dependency {} raised {raised}", row.id))
}

/// Returns the id of a member from its tuple: `[[id, parent], null]`.
fn member(tuple: &Value) -> TaskResult<String> {
    let id = match tuple {
        Value::List(parts) => match parts.as_slice() {
            [Value::List(node), Value::Null] => node.first().and_then(Value::as_str),
            _ => None,
        },
        _ => None,
    };
    id.map(str::to_owned).ok_or_else(|| wrong("`result` should list the results of tasks, and not of groups"))
}

fn wait(interval: &Value) -> Duration {
    let seconds = match interval {
        Value::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        _ => None,
    };
    seconds.unwrap_or(INTERVAL)
}

fn failed(reason: String) -> TaskError {
    TaskError::of_kind(CHORD_ERROR, reason).permanent()
}

fn wrong(reason: &str) -> TaskError {
    TaskError::of_kind("TypeError", reason).permanent()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn members_are_named_by_their_tuples() {
        assert_eq!(member(&value(r#"[["a", null], null]"#)).unwrap(), "a");
        assert_eq!(member(&value(r#"[["last", [["first", null], null]], null]"#)).unwrap(), "last");
        for wrong in [r#"[["group", null], [[["a", null], null]]]"#, r#""a""#, "[]", "[[7, null], null]"] {
            assert_eq!(member(&value(wrong)).unwrap_err().failure().kind, "TypeError", "{wrong}");
        }
    }

    #[test]
    fn the_wait_is_that_of_the_message() {
        for (interval, seconds) in [("null", 1.0), ("3", 3.0), ("0.5", 0.5), ("-1", 1.0), (r#""x""#, 1.0)] {
            assert_eq!(wait(&value(interval)), Duration::from_secs_f64(seconds), "{interval}");
        }
    }
}
