#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task(queue = "mail", priority = 1, queue = "post")]
async fn welcome() -> TaskResult<()> {
    Ok(())
}

fn main() {}
