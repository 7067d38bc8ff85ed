//! What a transactional task has to look like.

use celeriac::prelude::*;
use celeriac::PgConnection;

#[task(transactional)]
async fn without(order: i64) -> TaskResult<i64> {
    Ok(order)
}

#[task]
async fn unasked(tx: &mut PgConnection, order: i64) -> TaskResult<i64> {
    Ok(order)
}

#[task(transactional)]
async fn too_late(order: i64, tx: &mut PgConnection) -> TaskResult<i64> {
    Ok(order)
}

#[task(transactional)]
async fn owned(tx: PgConnection) -> TaskResult<()> {
    Ok(())
}

#[task(transactional)]
fn blocking(tx: &mut PgConnection) -> TaskResult<()> {
    Ok(())
}

#[task(transactional, acks = "early")]
async fn early(tx: &mut PgConnection) -> TaskResult<()> {
    Ok(())
}

#[task(name = "elsewhere", transactional)]
async fn elsewhere(order: i64) -> i64;

fn main() {}
