#![allow(unused_variables)]

use celeriac::{TaskResult, task, tasks};

async fn charge(cents: i64) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn refund(cents: i64) -> TaskResult<()> {
    Ok(())
}

#[task(name = "catalog.price")]
async fn price(article: String) -> i64;

mod mail {
    pub(crate) fn send() {}
}

fn main() {
    let _ = tasks![charge];
    let _ = tasks![refund, mail::send];
    let _ = tasks![price];
    let _ = tasks![refnd];
}
