//! Tasks that record their effects in the database.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Group, PgConnection, TaskDefinition};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::OnceCell;

pub(crate) fn tasks() -> Vec<TaskDefinition> {
    tasks![effect, effect_exactly, effect_once_told, commit_and_abort].into_iter().collect()
}

static POOL: OnceCell<PgPool> = OnceCell::const_new();

async fn pool() -> TaskResult<&'static PgPool> {
    let connect = async || {
        let environment = celeriac_config::Environment::from_process();
        let url =
            environment.get("CELERIAC__RESULTS__URL").ok_or_else(|| TaskError::of_kind("Unset", "no database"))?;
        let options = PgPoolOptions::new().max_connections(8).acquire_timeout(Duration::from_secs(5));
        Ok(options.connect_lazy(url)?)
    };
    POOL.get_or_try_init(connect).await
}

/// Sleeps, and then takes effect in a transaction of its own.
#[task(name = "test.effect", max_retries = none, retry_backoff = "1s..2s")]
async fn effect(ctx: TaskContext, milliseconds: u64) -> TaskResult<()> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    let mut transaction = pool().await?.begin().await?;
    write(&mut transaction, &ctx).await?;
    transaction.commit().await?;
    Ok(())
}

/// Sleeps, and then takes effect in the transaction of its outcome.
#[task(name = "test.effect_exactly", transactional, max_retries = none, retry_backoff = "1s..2s")]
async fn effect_exactly(ctx: TaskContext, tx: &mut PgConnection, milliseconds: u64) -> TaskResult<()> {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    Ok(write(tx, &ctx).await?)
}

/// Waits for a file, and takes effect in the transaction of its outcome.
#[task(name = "test.effect_once_told", transactional, max_retries = none, retry_backoff = "1s..2s")]
async fn effect_once_told(ctx: TaskContext, tx: &mut PgConnection, path: String) -> TaskResult<()> {
    while !std::path::Path::new(&path).exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(write(tx, &ctx).await?)
}

/// The task that journals its number, as a sender knows it.
#[task(name = "test.note")]
fn note(number: u64) -> u64;

/// The task that journals the number of results, as a sender knows it.
#[task(name = "test.gather")]
fn gather(results: Vec<u64>) -> Vec<u64>;

/// Sends a chain, a group and a chord in one transaction, and aborts its process right after the
/// commit, or right before it. A lost worker does not send them again.
#[task(name = "test.commit_and_abort", acks = "early")]
async fn commit_and_abort(ctx: TaskContext, members: u64, commits: bool) -> TaskResult<()> {
    let mut transaction = pool().await?.begin().await?;
    let client = ctx.client();
    client.submit_in(&mut transaction, note(0).then(note)).await?;
    client.submit_in(&mut transaction, (1..=members).map(note).collect::<Group<_>>()).await?;
    client.submit_in(&mut transaction, (1..=members).map(note).collect::<Group<_>>().then(gather)).await?;
    if commits {
        transaction.commit().await?;
    }
    std::process::abort();
}

async fn write(database: &mut PgConnection, ctx: &TaskContext) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO ledger.effects (id, run, worker) VALUES ($1, $2, $3)")
        .bind(ctx.id())
        .bind(uuid::Uuid::now_v7().to_string())
        .bind(std::process::id().to_string())
        .execute(database)
        .await
        .map(drop)
}
