//! All ways to pass arguments.

use celeriac::prelude::*;
use celeriac::protocol::{Map, Value};

const PREFIX: &str = "fleet.calls.";

pub(crate) fn tasks() -> Tasks {
    tasks![nothing, echo, add_all, describe, rename]
}

#[task(prefix = PREFIX)]
async fn nothing() -> TaskResult<()> {
    Ok(())
}

#[task(prefix = PREFIX)]
async fn echo(value: Value) -> TaskResult<Value> {
    Ok(value)
}

#[task(prefix = PREFIX)]
async fn add_all(#[rest] numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

/// Python's `sep`, which comes by name only, is one of the options.
#[task(prefix = PREFIX)]
async fn describe(first: Value, #[rest] rest: Vec<Value>, #[rest] mut options: Map) -> TaskResult<Value> {
    let sep = options.swap_remove("sep").unwrap_or_else(|| value!("-"));
    Ok(value!({"first": first, "rest": rest, "sep": sep, "options": options}))
}

/// Keeps the nickname if there is none, and removes it if it is null.
#[task(prefix = PREFIX)]
async fn rename(user: String, #[rest] changes: Map) -> TaskResult<String> {
    Ok(match changes.get("nickname") {
        None => format!("{user} keeps it"),
        Some(Value::Null) => format!("{user} has none"),
        Some(nickname) => format!("{user} is {}", nickname.as_str().unwrap_or_default()),
    })
}
