//! A Rust service that calls tasks in Python: `cargo run --bin order`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use celeriac::Failure;
use celeriac::prelude::*;
use celeriac_example_celery::{alarm, receipt, total};

/// Calls `catalog.price` of the Python half.
#[task(name = "catalog.price")]
fn price(article: String, pieces: u32) -> i64;

/// Calls `catalog.discount` of the Python half.
#[task(name = "catalog.discount")]
fn discount(cents: i64, percent: i64) -> i64;

#[tokio::main]
async fn main() -> celeriac::Result<()> {
    // No result store: workers reply to this process, Python's workers too.
    let app = Celeriac::from_config("config").set("results.url", "rpc://").build()?;
    let client = app.client().await?;

    let cents: i64 = price("teapot".to_owned(), 2).submit(&client).await?.get_timeout(seconds(30)).await?;
    println!("price: {cents}");

    // An exception from Python.
    let call = price("samovar".to_owned(), 1).on_error(alarm.with("a price is missing".to_owned()));
    let failed = call.submit(&client).await?.wait_timeout(seconds(30)).await?;
    if let Some(Failure { kind, module, message, .. }) = failed.failure {
        println!("failed: {kind} of {}: {message}", module.unwrap_or_default());
    }

    // Rust, then Python, then Rust.
    let steps = total(vec![2599, 450]).then(discount.with(10)).then(receipt.with("Ada".to_owned()));
    println!("receipt: {:?}", steps.submit(&client).await?.get_timeout(seconds(30)).await?);

    client.close().await;
    Ok(())
}
