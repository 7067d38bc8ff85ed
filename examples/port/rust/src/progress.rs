//! States between the start and the end.

use std::time::Duration;

use celeriac::prelude::*;

use crate::journal::Journal;

const PREFIX: &str = "fleet.progress.";

pub(crate) fn tasks() -> Tasks {
    tasks![progress, pause]
}

#[task(prefix = PREFIX)]
async fn progress(ctx: TaskContext, steps: i64) -> TaskResult<i64> {
    ctx.update_state("PROGRESS", &value!({"done": 1, "of": steps})).await?;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    Ok(steps)
}

#[task(prefix = PREFIX)]
async fn pause(ctx: TaskContext, page: i64) -> TaskResult<()> {
    ctx.update_state("PAUSED", &value!({"page": page, "why": "closed"})).await?;
    Journal::write(&ctx, [value!("pauses")])?;
    Err(TaskError::ignore())
}
