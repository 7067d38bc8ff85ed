#![allow(unused_variables)]

use celeriac::{TaskResult, task, tasks};

struct Report;

#[task]
async fn charge(cents: i64) -> TaskResult<()> {
    Ok(())
}

fn main() {
    let _ = tasks![Report];
    let _ = tasks![charge(5), "charge"];
}
