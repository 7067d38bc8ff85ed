//! Postgres refuses a session, or ends one.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{PgConnection, sqlx};
use celeriac_servers::{Durability, PostgresSpec};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects};
use sqlx::Connection;

use crate::ledger::note;

/// Takes effect in the transaction of its outcome.
#[task(name = "t.take_effect", transactional)]
async fn take_effect(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    effect(tx, ctx.id()).await?;
    Ok(())
}

/// Leaves its transaction idle for too long at its first attempt.
#[task(name = "t.idle_once", transactional, max_retries = 1, retry_backoff = "10ms")]
async fn idle_once(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<u32> {
    effect(tx, ctx.id()).await?;
    if ctx.attempt() == 1 {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    sqlx::query("SELECT 1").execute(tx).await?;
    Ok(ctx.attempt())
}

async fn effect(tx: &mut PgConnection, id: &str) -> sqlx::Result<()> {
    let effect = sqlx::query("INSERT INTO ledger.effects (id, run, worker) VALUES ($1, '', '')").bind(id);
    effect.execute(tx).await.map(drop)
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_wait_while_others_hold_all_sessions(bed: Bed) {
    // A server of its own, because other tests need theirs.
    let settings = vec!["max_connections=20".to_owned()];
    let spec = PostgresSpec { durability: Durability::Real, settings, ..PostgresSpec::default() };
    let postgres = spec.start().unwrap();
    let program = bed
        .program(tasks![take_effect, note])
        .set("results.url", postgres.url())
        .set("results.connect_timeout", "1s")
        .set("results.pool.max_transactions", "4");
    let running = bed.start(program).await;
    let book = Book::open(&postgres.url(), Effects::Written).await;
    let mut others = Vec::new();
    while let Ok(other) = PgConnection::connect(&postgres.url()).await {
        others.push(other);
    }
    let database = others.last_mut().unwrap();

    let sent = running.client.submit_many((0..20).map(|_| take_effect())).await;
    let ids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
    Book::issue_in(database, &ids).await.unwrap();
    let plain = note(7).submit(&running.client).await.unwrap();
    let peer = bed.peer().await;
    eventually("all are delivered", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    let effects = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM ledger.effects").fetch_one(database).await;
    assert_eq!(effects.unwrap(), 0, "no session is left for them");
    println!("sessions held by others: {}", others.len());
    drop(others);

    book.settle(Duration::from_secs(60)).await;
    assert_eq!(plain.get().await.unwrap(), 7);
    let tally = book.tally().await;
    let dead = peer.ready("celeriac.dead").await;
    println!("sessions exhausted: {tally}, dead {dead}");
    assert_eq!((tally.missing, tally.doubled, dead), (0, 0, 0), "{tally}");
    running.stop().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_transaction_that_is_idle_for_too_long_is_undone_and_its_task_tried_again(bed: Bed) {
    let program = bed
        .program(tasks![idle_once])
        .set("results.transaction_idle_timeout", "500ms")
        .set("results.pool.max_transactions", "1");
    let running = bed.start(program).await;
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let handle = idle_once().submit(&running.client).await.unwrap();
    book.issue(&[handle.id().to_owned()]).await;
    assert_eq!(handle.get().await.unwrap(), 2, "the second attempt had a session of its own");
    let tally = book.tally().await;
    assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
}
