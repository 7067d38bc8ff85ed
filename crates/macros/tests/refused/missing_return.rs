#![allow(unused_variables)]

use celeriac::task;

#[task]
async fn welcome(user: u64) {}

fn main() {}
