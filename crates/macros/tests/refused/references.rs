#![allow(unused_variables)]

use std::path::Path;

use celeriac::{TaskContext, TaskResult, task};

#[task]
async fn borrows(ctx: &TaskContext, text: &str, bytes: &[u8], path: &Path, map: Vec<&'static str>, number: &mut i64) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn returns_borrowed(count: u8) -> TaskResult<&'static str> {
    Ok("")
}

#[task]
async fn elided(text: std::borrow::Cow<'_, str>, then: fn(&str)) -> TaskResult<()> {
    Ok(())
}

fn main() {}
