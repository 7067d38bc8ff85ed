//! Options of tasks, and hooks in place of a base class.

use celeriac::hooks::{Decided, TaskOutput};
use celeriac::prelude::*;
use celeriac::protocol::Value;

use crate::journal::Journal;

const PREFIX: &str = "fleet.delivery.";

pub(crate) fn tasks() -> Tasks {
    tasks![early, silent, urgent, audited]
}

/// Writes down the end of each task.
struct Audited;

impl Hooks for Audited {
    async fn on_success(&self, ctx: &TaskContext, result: TaskOutput) -> TaskResult<TaskOutput> {
        Journal::write(ctx, [value!("success"), result.read::<Value>()?])?;
        Ok(result)
    }

    async fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> TaskResult<TaskOutput> {
        Journal::write(ctx, [value!("failure"), value!(&error.failure().message)])?;
        Err(error)
    }

    async fn after_return(&self, ctx: &TaskContext, decided: &Decided) {
        let state = if matches!(decided, Decided::Success(_)) { "SUCCESS" } else { "FAILURE" };
        // The outcome stands, whatever becomes of the line.
        let _ = Journal::write(ctx, [value!("returned"), value!(state)]);
    }
}

#[task(prefix = PREFIX, acks = "early")]
async fn early(ctx: TaskContext, word: String) -> TaskResult<String> {
    Journal::write(&ctx, [value!(&word)])?;
    Ok(word)
}

#[task(prefix = PREFIX, ignore_result = true)]
async fn silent(ctx: TaskContext, word: String) -> TaskResult<String> {
    Journal::write(&ctx, [value!(&word)])?;
    Ok(word)
}

#[task(prefix = PREFIX, priority = 7)]
async fn urgent(ctx: TaskContext) -> TaskResult<Option<u8>> {
    Ok(ctx.priority())
}

#[task(prefix = PREFIX, hooks = Audited)]
async fn audited(number: i64) -> TaskResult<i64> {
    if number < 0 {
        return Err(TaskError::of_kind("ValueError", "negative"));
    }
    Ok(number)
}
