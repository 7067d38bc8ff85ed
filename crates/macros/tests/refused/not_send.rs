#![allow(unused_variables)]

use std::rc::Rc;

use celeriac::{TaskResult, task};

#[task]
async fn counts() -> TaskResult<usize> {
    let shared = Rc::new(5);
    std::future::ready(()).await;
    Ok(*shared)
}

fn main() {}
