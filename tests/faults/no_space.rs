//! A file system of Postgres is really full: that of a tablespace, and that of the write-ahead log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::{Client, PgConnection, sqlx};
use celeriac_servers::{Durability, PostgresNode, PostgresSpec, SmallDisk};
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Book, Effects};

use crate::failover::{FURTHER_ATTEMPTS, count};
use crate::in_turn::blocking;
use crate::ledger::is_long;

/// Takes effect in the transaction of its outcome, and is not retried.
#[task(name = "t.fill", transactional)]
async fn fill(ctx: TaskContext, tx: &mut PgConnection, text: String) -> TaskResult<()> {
    let effect = sqlx::query("INSERT INTO ledger.effects (id, run, worker) VALUES ($1, $2, '')");
    effect.bind(ctx.id()).bind(text).execute(tx).await?;
    Ok(())
}

/// Is recorded with its argument.
#[task(name = "t.keep")]
async fn keep(_text: String) -> TaskResult<()> {
    Ok(())
}

const ROLLED_BACK: &str = "SELECT sum(xact_rollback)::bigint FROM pg_stat_database";
const RECORDED: &str = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS' AND name = 't.keep'";

/// A text that does not compress. Five rows with it fill a page.
fn text() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(1_500).collect()
}

/// Sends this many tasks of each kind. Returns the ids of those that take effect.
async fn send(client: &Client, each: u32) -> Vec<String> {
    let sent = client.submit_many((0..each).map(|_| fill(text()))).await;
    for kept in client.submit_many((0..each).map(|_| keep(text()))).await {
        kept.unwrap();
    }
    sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect()
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_wait_while_the_tablespace_of_their_tables_is_full_and_no_attempt_counts(bed: Bed) {
    let (disk, postgres) = blocking(|| {
        let disk = SmallDisk::mount(16).unwrap();
        (disk, PostgresNode::start(Durability::Real).unwrap())
    })
    .await;
    let program =
        bed.program(tasks![fill, keep]).set("results.url", postgres.url()).set("queues.celeriac.delivery_limit", "3");
    let running = bed.start(program).await;
    let book = Book::open(&postgres.url(), Effects::Written).await;
    let folder = disk.create_folder("tasks").unwrap();
    postgres.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", folder.display())).unwrap();
    postgres.sql("ALTER TABLE celeriac.tasks SET TABLESPACE small").unwrap();
    postgres.sql("ALTER TABLE ledger.effects SET TABLESPACE small").unwrap();
    disk.fill(0).unwrap();

    let each = if is_long() { 200 } else { 25 };
    let before = count(&postgres, ROLLED_BACK).await;
    let ids = send(&running.client, each).await;
    let refused = async || count(&postgres, ROLLED_BACK).await - before;
    // More often for each task than the broker would deliver it.
    let enough = i64::from(each * 5);
    let refused = eventually("transactions are refused", refused, |refused| *refused > enough).await;
    assert_eq!(count(&postgres, RECORDED).await, 0, "the disk is full");
    disk.empty().unwrap();
    let begun = Instant::now();
    book.issue(&ids).await;
    book.settle(Duration::from_secs(60)).await;
    eventually("all are recorded", async || count(&postgres, RECORDED).await, |rows| *rows == i64::from(each)).await;
    let (tally, further) = (book.tally().await, count(&postgres, FURTHER_ATTEMPTS).await);
    let dead = bed.peer().await.ready("celeriac.dead").await;
    println!(
        "tablespace full, {refused} transactions refused: {tally}; recorded {each}, further attempts {further}, \
         dead {dead}; done {:.2} s after there was space",
        begun.elapsed().as_secs_f64(),
    );
    assert_eq!((tally.missing, tally.doubled, further, dead), (0, 0, 0, 0), "{tally}");
    running.stop().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_wait_for_a_server_that_ends_because_its_write_ahead_log_has_no_space(bed: Bed) {
    let (disk, postgres) = blocking(|| {
        let disk = SmallDisk::mount(32).unwrap();
        let initdb = ["--wal-segsize=1".to_owned(), format!("--waldir={}", disk.path("wal").display())];
        // Checkpoints would make room.
        let settings = ["min_wal_size=2MB", "max_wal_size=1GB", "checkpoint_timeout=1h"].map(str::to_owned);
        let (initdb, settings) = (initdb.to_vec(), settings.to_vec());
        let spec = PostgresSpec { durability: Durability::Real, initdb, settings, ..PostgresSpec::default() };
        (disk, Arc::new(spec.start().unwrap()))
    })
    .await;
    let program =
        bed.program(tasks![fill, keep]).set("results.url", postgres.url()).set("queues.celeriac.delivery_limit", "3");
    let running = bed.start(program).await;
    let book = Book::open(&postgres.url(), Effects::Written).await;
    let (mut ids, mut kept) = (send(&running.client, 20).await, 20);
    book.issue(&ids).await;
    book.settle(Duration::from_secs(60)).await;
    disk.fill(0).unwrap();

    let panics = || {
        let said = std::fs::read_to_string(postgres.folder().join("log/printed.log")).unwrap_or_default();
        said.matches("PANIC").count()
    };
    let patience = Duration::from_secs(60);
    let load = async || {
        ids.extend(send(&running.client, 20).await);
        kept += 20;
        // Others write too.
        let _ = postgres.sql("SELECT pg_logical_emit_message(false, 'others', repeat('x', 300000))");
        panics()
    };
    eventually_within(patience, "the server panics", load, |panics| *panics > 0).await;
    // Its recovery needs space too.
    let begun = Instant::now();
    eventually_within(patience, "the server has ended", async || postgres.alive(), |alive| !alive).await;
    let ended = begun.elapsed();
    ids.extend(send(&running.client, 20).await);
    kept += 20;
    disk.empty().unwrap();
    let node = Arc::clone(&postgres);
    blocking(move || node.restart().unwrap()).await;
    let begun = Instant::now();
    book.issue(&ids).await;
    book.settle(Duration::from_secs(60)).await;
    eventually("all are recorded", async || count(&postgres, RECORDED).await, |rows| *rows == kept).await;
    let (tally, further) = (book.tally().await, count(&postgres, FURTHER_ATTEMPTS).await);
    let dead = bed.peer().await.ready("celeriac.dead").await;
    println!(
        "write-ahead log full, {} panics, the server ended after {:.2} s: {tally}; recorded {kept}, further attempts \
         {further}, dead {dead}; done {:.2} s after its restart",
        panics(),
        ended.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
    );
    assert_eq!((tally.missing, tally.doubled, further, dead), (0, 0, 0, 0), "{tally}");
    running.stop().await;
}
