#![allow(unused_variables)]

use celeriac::{TaskContext, TaskResult, task};

#[task]
async fn misplaced(
    #[default] ctx: TaskContext,
    #[default = 5] cents: i64,
    #[default(1, 2)] pair: (u8, u8),
    #[default] #[default(3)] count: u8,
    #[cfg(unix)] unix: u8,
) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn of_another_type(#[default(true)] cents: i64) -> TaskResult<()> {
    Ok(())
}

fn main() {}
