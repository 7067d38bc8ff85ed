#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task]
async fn charge(cents: i64) -> TaskResult<i64> {
    let order: String = cents;
    Ok(missing)
}

fn main() {}
