//! Retries, on request and by error.

use celeriac::RetryOptions;
use celeriac::prelude::*;
use celeriac::protocol::Value;

use crate::errors::unavailable;

const PREFIX: &str = "fleet.retries.";

pub(crate) fn tasks() -> Tasks {
    tasks![flaky, pages, resume, exhausted, given_up, download, upload, later]
}

#[task(prefix = PREFIX, max_retries = none)]
async fn flaky(ctx: TaskContext, failures: u32) -> TaskResult<u32> {
    let retries = ctx.attempt() - 1;
    if retries < failures {
        return Err(TaskError::retry_in(seconds(0), ""));
    }
    Ok(retries)
}

#[task(prefix = PREFIX, max_retries = 3)]
async fn pages(page: i64, #[default] mut seen: Vec<Value>) -> TaskResult<Vec<Value>> {
    seen.push(page.into());
    if page < 3 {
        let next = RetryOptions::new().args([value!(page + 1), value!(seen)]);
        return Err(TaskError::retry_in(seconds(0), "").with_retry_options(next));
    }
    Ok(seen)
}

#[task(prefix = PREFIX, max_retries = 3)]
async fn resume(#[default] offset: i64) -> TaskResult<i64> {
    if offset < 20 {
        let next = RetryOptions::new().kwargs([("offset", offset + 10)]);
        return Err(TaskError::retry_in(seconds(0), "").with_retry_options(next));
    }
    Ok(offset)
}

#[task(prefix = PREFIX, max_retries = 1)]
async fn exhausted(service: String) -> TaskResult<()> {
    Err(TaskError::retry_in(seconds(0), "").caused_by(unavailable(service, 503)))
}

#[task(prefix = PREFIX, max_retries = 1)]
async fn given_up() -> TaskResult<()> {
    Err(TaskError::retry_in(seconds(0), ""))
}

/// Celery's `ConnectionError` includes its subclasses; a kind is one class.
#[task(
    prefix = PREFIX,
    autoretry_for = ["ConnectionResetError"],
    max_retries = 2,
    retry_backoff = 1,
    retry_jitter = false
)]
async fn download(ctx: TaskContext, failures: u32) -> TaskResult<u32> {
    let retries = ctx.attempt() - 1;
    if retries < failures {
        return Err(TaskError::of_kind("ConnectionResetError", format!("reset {retries}")));
    }
    Ok(retries)
}

#[task(prefix = PREFIX, dont_autoretry_for = ["PermissionError"], max_retries = 1, default_retry_delay = 0)]
async fn upload(path: String) -> TaskResult<()> {
    if path.starts_with("/root") {
        return Err(TaskError::of_kind("PermissionError", format!("no access to {path}")));
    }
    Err(TaskError::of_kind("FileNotFoundError", format!("no {path}")))
}

/// Celery's `max_retries` is 3 unless the task says otherwise, ours is 0.
#[task(prefix = PREFIX, max_retries = 3)]
async fn later(ctx: TaskContext) -> TaskResult<String> {
    if ctx.attempt() == 1 {
        return Err(TaskError::retry_in(seconds(1), ""));
    }
    Ok("later".to_owned())
}
