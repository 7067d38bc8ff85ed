//! A task that somebody else runs needs its name, and says nothing of how it is run.

use celeriac::{TaskContext, TaskResult, task};

#[task]
fn nameless(article: String) -> i64;

#[task(name = "catalog.price", max_retries = 3, acks = "early", time_limit = "5s")]
fn price(ctx: TaskContext, article: String) -> TaskResult<i64>;

fn main() {}
