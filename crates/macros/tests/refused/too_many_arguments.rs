#![allow(unused_variables)]

use celeriac::{TaskContext, TaskResult, task};

#[task]
async fn thirteen(
    ctx: TaskContext,
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    e: u8,
    f: u8,
    g: u8,
    h: u8,
    i: u8,
    j: u8,
    k: u8,
    l: u8,
    m: u8,
) -> TaskResult<()> {
    Ok(())
}

fn main() {}
