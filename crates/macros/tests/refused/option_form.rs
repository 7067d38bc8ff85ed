#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task("orders.charge")]
async fn name_alone() -> TaskResult<()> {
    Ok(())
}

#[task(queue: "mail")]
async fn colon() -> TaskResult<()> {
    Ok(())
}

#[task(queue = "mail" priority = 5)]
async fn no_comma() -> TaskResult<()> {
    Ok(())
}

#[task(7)]
async fn no_option() -> TaskResult<()> {
    Ok(())
}

fn main() {}
