#![allow(unused_variables)]

use celeriac::{TaskContext, TaskResult, task};

#[task(queu = "mail", priority = "high")]
async fn welcome<T>(user: &str, ctx: TaskContext, (a, b): (u8, u8)) -> TaskResult<&'static str> {
    Ok("")
}

fn main() {}
