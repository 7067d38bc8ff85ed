//! Limits of time and rate.

use std::time::Duration;

use celeriac::prelude::*;

const PREFIX: &str = "fleet.limits.";

pub(crate) fn tasks() -> Tasks {
    tasks![tidy, stuck, patient, fetch]
}

#[task(prefix = PREFIX, soft_time_limit = "1s")]
async fn tidy(ctx: TaskContext) -> TaskResult<Option<String>> {
    tokio::select! {
        () = tokio::time::sleep(seconds(20)) => Ok(None),
        () = ctx.cancelled() => Ok(Some("tidied".to_owned())),
    }
}

#[task(prefix = PREFIX, time_limit = "1s")]
async fn stuck() -> TaskResult<()> {
    tokio::time::sleep(seconds(20)).await;
    Ok(())
}

/// A soft limit raises no exception: the task ends with the error of its choice.
#[task(prefix = PREFIX)]
async fn patient(ctx: TaskContext, seconds: f64) -> TaskResult<f64> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => Ok(seconds),
        () = ctx.cancelled() => Err(TaskError::of_kind("SoftTimeLimitExceeded", "").of_module("billiard.exceptions")),
    }
}

#[task(prefix = PREFIX, rate_limit = "20/s")]
async fn fetch(page: i64) -> TaskResult<String> {
    Ok(format!("page {page}"))
}
