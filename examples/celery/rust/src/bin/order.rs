//! A Rust service that has tasks run in Python: `cargo run --bin order`.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use celeriac::prelude::*;
use celeriac::{Failure, Parameter, Task};
use celeriac_example_celery::total;

/// `catalog.price` of the Python half, as this one sees it.
struct Price;

impl Task for Price {
    const NAME: &'static str = "catalog.price";
    type Args = (String, u32);
    type Output = i64;

    fn parameters() -> &'static [Parameter] {
        const { &[Parameter::required("article"), Parameter::required("pieces")] }
    }
}

fn price(article: &str, pieces: u32) -> Call<Price> {
    Call::new((article.to_owned(), pieces))
}

#[tokio::main]
async fn main() -> celeriac::Result<()> {
    // Nothing is stored: workers, Python's too, send the outcome to this process.
    let app = Celeriac::from_config("config").set("results.url", "rpc://").build()?;
    let client = app.client().await?;

    let cents: i64 = price("teapot", 2).submit(&client).await?.get_within(seconds(30)).await?;
    println!("price: {cents}");

    // An exception of Python.
    let alarm = Signature::new("billing.alarm").arg("a price is missing");
    let failed = price("samovar", 1).on_error(alarm).submit(&client).await?.wait_for(seconds(30)).await?;
    if let Some(Failure { kind, module, message, .. }) = failed.failure {
        println!("failed: {kind} of {}: {message}", module.unwrap_or_default());
    }

    // Rust, then Python, then Rust.
    let steps = Chain::new(total(vec![2599, 450]).signature()?)
        .then(Signature::new("catalog.discount").arg(10_i64))
        .then(Signature::new("billing.receipt").arg("Ada"));
    println!("receipt: {}", steps.submit(&client).await?.get_within(seconds(30)).await?);

    client.close().await;
    Ok(())
}
