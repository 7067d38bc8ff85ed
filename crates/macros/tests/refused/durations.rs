#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task(expires = "1 fortnight")]
async fn unknown_unit() -> TaskResult<()> {
    Ok(())
}

#[task(expires = "10", retry_backoff = "1s..10")]
async fn without_unit() -> TaskResult<()> {
    Ok(())
}

#[task(expires = "0s", retry_backoff = "10m..1s")]
async fn impossible() -> TaskResult<()> {
    Ok(())
}

#[task(retry_backoff = "0s..1m")]
async fn never_grows() -> TaskResult<()> {
    Ok(())
}

fn main() {}
