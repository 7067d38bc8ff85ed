//! Errors.

use celeriac::prelude::*;
use celeriac::protocol::Value;

use crate::errors;
use crate::journal::Journal;

const PREFIX: &str = "fleet.failures.";

pub(crate) fn tasks() -> Tasks {
    tasks![declined, fail, caused, reject, ignore]
}

#[task(prefix = PREFIX)]
async fn declined(reason: Value, code: Value) -> TaskResult<()> {
    Err(errors::declined(reason, code))
}

/// Fails with an exception of Python's own.
#[task(prefix = PREFIX)]
async fn fail(kind: String, #[rest] args: Vec<Value>) -> TaskResult<()> {
    Err(TaskError::of_kind(kind, "").with_args(args))
}

#[task(prefix = PREFIX)]
async fn caused(text: String) -> TaskResult<()> {
    text.parse::<i64>().map(drop).map_err(|_| errors::declined("not a number", 400))
}

#[task(prefix = PREFIX)]
async fn reject(ctx: TaskContext) -> TaskResult<()> {
    Journal::write(&ctx, [value!("rejects")])?;
    Err(TaskError::reject("no such order"))
}

#[task(prefix = PREFIX)]
async fn ignore(ctx: TaskContext) -> TaskResult<()> {
    Journal::write(&ctx, [value!("ignores")])?;
    Err(TaskError::ignore())
}
