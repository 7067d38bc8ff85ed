//! A Rust service that calls tasks in Python: `cargo run --bin order`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use celeriac::prelude::*;
use celeriac::{Chain, Failure};
use celeriac_example_celery::total;

/// Calls `catalog.price` of the Python half.
#[task(name = "catalog.price")]
fn price(article: String, pieces: u32) -> i64;

#[tokio::main]
async fn main() -> celeriac::Result<()> {
    // No result store: workers reply to this process, Python's workers too.
    let app = Celeriac::from_config("config").set("results.url", "rpc://").build()?;
    let client = app.client().await?;

    let cents: i64 = price("teapot".to_owned(), 2).submit(&client).await?.get_timeout(seconds(30)).await?;
    println!("price: {cents}");

    // An exception from Python.
    let alarm = Signature::new("billing.alarm").arg("a price is missing");
    let failed =
        price("samovar".to_owned(), 1).on_error(alarm).submit(&client).await?.wait_timeout(seconds(30)).await?;
    if let Some(Failure { kind, module, message, .. }) = failed.failure {
        println!("failed: {kind} of {}: {message}", module.unwrap_or_default());
    }

    // Rust, then Python, then Rust.
    let steps = Chain::new(total(vec![2599, 450]).signature()?)
        .then(Signature::new("catalog.discount").arg(10))
        .then(Signature::new("billing.receipt").arg("Ada"));
    println!("receipt: {}", steps.submit(&client).await?.get_timeout(seconds(30)).await?);

    client.close().await;
    Ok(())
}
