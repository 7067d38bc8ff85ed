#![allow(unused_variables)]

use celeriac::{TaskResult, task};

struct Shop;

impl Shop {
    #[task]
    async fn charge(&self, cents: i64) -> TaskResult<()> {
        Ok(())
    }
}

fn main() {}
