#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task]
async fn takes_apart((width, height): (u32, u32), _: u8, ref name: String) -> TaskResult<()> {
    Ok(())
}

fn main() {}
