#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task(
    name = 5,
    queue = "",
    priority = 256,
    max_retries = "five",
    retry_backoff = 1.5,
    retry_jitter = 1.5,
    acks = "sometimes",
    ignore_result = "yes",
    track = "all",
    redact = "card",
    expires,
)]
async fn every_one_wrong() -> TaskResult<()> {
    Ok(())
}

#[task(max_retries = -1, priority = high)]
async fn no_numbers() -> TaskResult<()> {
    Ok(())
}

#[task(retry_jitter = 0.5)]
async fn jitter_of_nothing() -> TaskResult<()> {
    Ok(())
}

#[task(rate_limit = "0/s")]
async fn rate_of_nothing() -> TaskResult<()> {
    Ok(())
}

#[task(rate_limit = "10/w")]
async fn no_rate() -> TaskResult<()> {
    Ok(())
}

#[task(time_limit = 30, soft_time_limit = "0s")]
async fn no_times() -> TaskResult<()> {
    Ok(())
}

#[task(time_limit = "30s", soft_time_limit = "30s")]
async fn soft_after_hard() -> TaskResult<()> {
    Ok(())
}

#[task(time_limit = "30s")]
fn never_ended() -> TaskResult<()> {
    Ok(())
}

#[task(rate_limit = "0.5/s")]
async fn half_a_rate() -> TaskResult<()> {
    Ok(())
}

#[task(redact = ["card", 4])]
async fn no_path(card: String) -> TaskResult<()> {
    Ok(())
}

#[task(redact = ["card."])]
async fn half_a_path(card: String) -> TaskResult<()> {
    Ok(())
}

fn main() {}
