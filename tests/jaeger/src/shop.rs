//! The tasks of a shop, with spans of their own.

use std::path::Path;
use std::time::Duration;

use celeriac::Builder;
use celeriac::prelude::*;
use tracing::{Instrument, info_span};

/// The name of the tasks' queue, which their spans have.
pub(crate) const QUEUE: &str = "orders";

pub(crate) fn app() -> Builder {
    Celeriac::builder().tasks(tasks![open, charge, receipt, ship]).set("default_queue", QUEUE)
}

/// Returns at once: a result says that the worker is ready.
#[task(name = "shop.open")]
pub(crate) async fn open() -> TaskResult<()> {
    Ok(())
}

/// Fails at its first attempt.
#[task(name = "shop.charge", max_retries = 2, retry_backoff = "200ms..200ms")]
async fn charge(ctx: TaskContext, order: u32) -> TaskResult<u32> {
    work(Duration::from_millis(40)).instrument(info_span!("charge the card", order)).await;
    if ctx.attempt() == 1 {
        return Err(TaskError::of_kind("Busy", "the bank does not answer"));
    }
    Ok(order)
}

#[task(name = "shop.receipt")]
async fn receipt(order: u32) -> TaskResult<u32> {
    work(Duration::from_millis(60)).instrument(info_span!("write the receipt", order)).await;
    Ok(order)
}

/// Fails until a file exists.
#[task(name = "shop.ship", max_retries = 1, retry_backoff = "200ms..200ms")]
pub(crate) async fn ship(order: u32, address: String) -> TaskResult<u32> {
    work(Duration::from_millis(40)).instrument(info_span!("load the parcel", order)).await;
    if !Path::new(&address).exists() {
        return Err(TaskError::of_kind("NoAddress", "the order has no address"));
    }
    Ok(order)
}

/// Takes time, so that a span has a width in a picture.
async fn work(time: Duration) {
    tokio::time::sleep(time).await;
}
