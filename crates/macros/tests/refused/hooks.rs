//! What runs around a task implements `Hooks`.

use celeriac::{TaskResult, task};

struct Nothing;

#[task(hooks = Nothing)]
async fn no_hooks() -> TaskResult<()> {
    Ok(())
}

#[task(hooks = "audit")]
async fn by_name() -> TaskResult<()> {
    Ok(())
}

#[task(name = "catalog.price", hooks = Nothing)]
fn price(article: String) -> i64;

fn main() {}
