#![allow(unused_variables)]

use celeriac::task;

#[task]
struct Charge {
    cents: i64,
}

#[task]
mod orders {}

fn main() {}
