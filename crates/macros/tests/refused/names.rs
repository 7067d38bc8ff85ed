#![allow(unused_variables)]

use celeriac::{TaskContext, TaskResult, task};

#[task]
async fn twice(expires: u64, _expires: u64, #[name("expires")] until: u64) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn misplaced(
    #[name("ctx")] ctx: TaskContext,
    #[name = "cents"] amount: i64,
    #[name(cents)] total: i64,
    #[name("")] empty: u8,
    #[name] bare: u8,
    #[name("one")] #[name("two")] count: u8,
) -> TaskResult<()> {
    Ok(())
}

fn main() {}
