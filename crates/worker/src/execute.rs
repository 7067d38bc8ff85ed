//! Runs one attempt of a task, and keeps whatever happens in it to itself.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use celeriac_protocol::{ArgumentError, Body, Failure};
use celeriac_telemetry::trace::ProcessSpan;
use futures::FutureExt;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::context::TaskContext;
use crate::handler::{Finished, Runner, TaskDefinition};
use crate::outcome::{Steer, TaskError};

/// How an attempt ended.
pub(crate) enum Attempt {
    /// The task came to an end of its own.
    Finished(Finished),
    /// The worker stops, and could wait no longer.
    Interrupted,
}

/// Runs an attempt.
///
/// # Errors
/// When the arguments do not fit the task, which then has not begun.
pub(crate) async fn execute(
    task: &TaskDefinition,
    ctx: TaskContext,
    body: Body,
    span: &ProcessSpan,
) -> Result<Attempt, ArgumentError> {
    let interrupt = ctx.world.interrupt.clone();
    match task.runner {
        Runner::Async(run) => {
            // The handler's first lines, up to its first await, may panic as well as the rest.
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| run(ctx, body)));
            let run = match run {
                Ok(run) => run?,
                Err(panic) => return Ok(Attempt::Finished(Err(panicked(panic.as_ref())))),
            };
            let guarded = span.run(AssertUnwindSafe(run).catch_unwind());
            Ok(until(&interrupt, async move { guarded.await.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) })
                .await)
        }
        Runner::Blocking(run) => {
            let run = run(ctx, body)?;
            let entered = span.run_blocking(run);
            // A thread cannot be taken away from a task: it goes on, but nobody waits for it any more.
            Ok(until(&interrupt, async move {
                match spawn_blocking(entered).await {
                    Ok(finished) => finished,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => Err(panicked(panic.as_ref())),
                        Err(error) => Err(TaskError::any(error)),
                    },
                }
            })
            .await)
        }
    }
}

async fn until(interrupt: &CancellationToken, attempt: impl Future<Output = Finished>) -> Attempt {
    tokio::select! {
        biased;
        finished = attempt => Attempt::Finished(finished),
        () = interrupt.cancelled() => Attempt::Interrupted,
    }
}

fn panicked(panic: &(dyn Any + Send)) -> TaskError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the task panicked".to_owned());
    TaskError { steer: Steer::Policy, failure: Failure::new("Panic", message) }
}
