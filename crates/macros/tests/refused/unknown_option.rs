#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task(max_retry = 5)]
async fn misspelt() -> TaskResult<()> {
    Ok(())
}

#[task(colour = "red")]
async fn unheard_of() -> TaskResult<()> {
    Ok(())
}

fn main() {}
