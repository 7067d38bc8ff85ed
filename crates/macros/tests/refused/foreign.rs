//! A task of another program needs its name, and declares nothing about its run.

use celeriac::{TaskContext, TaskResult, task};

#[task]
fn nameless(article: String) -> i64;

#[task(name = "catalog.price", max_retries = 3, acks = "early", time_limit = "5s")]
fn price(ctx: TaskContext, article: String) -> TaskResult<i64>;

fn main() {}
