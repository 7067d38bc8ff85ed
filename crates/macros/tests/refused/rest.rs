#![allow(unused_variables)]

use celeriac::protocol::{Map, Value};
use celeriac::{TaskContext, TaskResult, task};

#[task]
async fn behind(#[rest] args: Vec<Value>, last: u8) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn other_way_round(#[rest] kwargs: Map, #[rest] args: Vec<Value>) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn of_no_kind(#[rest] args: String) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn with_more(
    #[rest] ctx: TaskContext,
    #[rest(3)] args: Vec<Value>,
    #[rest] #[default] kwargs: Map,
) -> TaskResult<()> {
    Ok(())
}

fn main() {}
