#![allow(unused_variables)]

use celeriac::{TaskContext, TaskResult, task};

#[task]
async fn last(order: String, ctx: TaskContext) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn twice(ctx: TaskContext, again: celeriac::TaskContext) -> TaskResult<()> {
    Ok(())
}

fn main() {}
