//! The name of the database leads to a standby, which takes no writes.

use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::{Client, PgConnection, sqlx};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects, Peer, Proxy};

use crate::connection_cut::server_of;
use crate::failover::{FURTHER_ATTEMPTS, Pair, count};
use crate::ledger::note;

const TASKS: u32 = 20;

/// Takes effect in the transaction of its outcome, and is not retried.
#[task(name = "t.take_effect", transactional)]
async fn take_effect(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    let effect = sqlx::query("INSERT INTO ledger.effects (id, run, worker) VALUES ($1, '', '')").bind(ctx.id());
    effect.execute(tx).await?;
    Ok(())
}

/// Rolled back because the server is a standby.
const ROLLED_BACK: &str = "SELECT sum(xact_rollback)::bigint FROM pg_stat_database";

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_on_a_standby_waits_and_no_attempt_and_no_delivery_counts(bed: Bed) {
    let pair = Pair::start(Vec::new()).await;
    let client = bed.client(bed.program([]).set("results.url", pair.primary.url())).await;
    let ground = Book::open(&pair.primary.url(), Effects::Written).await;
    pair.catch_up().await;
    let [primary, replica] = [pair.primary.url(), pair.replica.url()].map(|url| server_of(&url));
    let proxy = Proxy::before(replica.clone()).await;
    let program = bed
        .program(tasks![take_effect, note])
        .set("results.url", proxy.url(&pair.replica.url(), &replica))
        .set("queues.celeriac.delivery_limit", "3");
    let running = bed.start(program).await;
    let peer = bed.peer().await;
    let mut issued = Vec::new();

    // At the start. Its connections to the standby stay while the name changes.
    let mut at_start = wait_on_standby(&pair, &running.client, &peer, &mut issued).await;
    let begun = Instant::now();
    proxy.lead_to(primary.clone());
    ground.issue(&issued).await;
    ground.settle(Duration::from_secs(60)).await;
    eventually("notes are recorded", async || notes(&pair.primary).await, |rows| *rows == i64::from(TASKS)).await;
    let after_start = begun.elapsed();

    // During its work: the name leads to the standby before its promotion.
    pair.catch_up().await;
    proxy.lead_to(replica);
    proxy.cut();
    at_start += wait_on_standby(&pair, &client, &peer, &mut issued).await;
    pair.kill_primary().await;
    let begun = Instant::now();
    pair.promote().await;
    let book = Book::at(&pair.replica.url());
    book.issue(&issued).await;
    book.settle(Duration::from_secs(60)).await;
    eventually("notes are recorded", async || notes(&pair.replica).await, |rows| *rows == i64::from(2 * TASKS)).await;
    let (tally, further) = (book.tally().await, count(&pair.replica, FURTHER_ATTEMPTS).await);
    let dead = peer.ready("celeriac.dead").await;
    println!(
        "on a standby, {at_start} transactions refused; work went on {:.2} s after the name led to the primary, and \
         {:.2} s after the promotion: {tally}; further attempts {further}, dead {dead}",
        after_start.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
    );
    assert_eq!((tally.missing, tally.doubled, further, dead), (0, 0, 0, 0), "{tally}");
    running.stop().await;
}

/// Sends tasks, and waits while the standby refuses their transactions and those of services.
/// Returns the number of refused ones.
async fn wait_on_standby(pair: &Pair, client: &Client, peer: &Peer, issued: &mut Vec<String>) -> i64 {
    let before = count(&pair.replica, ROLLED_BACK).await;
    let sent = client.submit_many((0..TASKS).map(|_| take_effect())).await;
    issued.extend(sent.into_iter().map(|sent| sent.unwrap().id().to_owned()));
    for sent in client.submit_many((0..u64::from(TASKS)).map(note)).await {
        sent.unwrap();
    }
    eventually("all are delivered", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    let refused = async || count(&pair.replica, ROLLED_BACK).await - before;
    eventually("transactions are refused", refused, |refused| *refused > 5).await;
    // The seconds without a primary are the fault itself.
    tokio::time::sleep(Duration::from_secs(5)).await;
    refused().await
}

async fn notes(node: &celeriac_servers::PostgresNode) -> i64 {
    count(node, "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS' AND name = 'test.note'").await
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_wait_while_their_commits_wait_for_a_standby_that_is_away(bed: Bed) {
    let pair = Pair::start(vec!["synchronous_standby_names=*".to_owned()]).await;
    let program = bed
        .program(tasks![take_effect, note])
        .set("results.url", pair.primary.url())
        .set("results.statement_timeout", "1s")
        .set("queues.celeriac.delivery_limit", "3");
    let running = bed.start(program).await;
    let book = Book::open(&pair.primary.url(), Effects::Written).await;
    let before = notes(&pair.primary).await;
    pair.replica.pause().unwrap();
    let sent = running.client.submit_many((0..TASKS).map(|_| take_effect())).await;
    let issued: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
    for sent in running.client.submit_many((0..u64::from(TASKS)).map(note)).await {
        sent.unwrap();
    }
    let waiting =
        async || count(&pair.primary, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    eventually("commits wait", waiting, |waiting| *waiting > 1).await;
    // The seconds without the standby are the fault itself.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (waiting, recorded) = (waiting().await, notes(&pair.primary).await);
    assert_eq!(recorded, before, "no commit is seen before the standby has it");
    pair.replica.resume().unwrap();
    let begun = Instant::now();
    book.issue(&issued).await;
    book.settle(Duration::from_secs(60)).await;
    eventually("notes are recorded", async || notes(&pair.primary).await, |rows| *rows == i64::from(TASKS)).await;
    let (tally, further) = (book.tally().await, count(&pair.primary, FURTHER_ATTEMPTS).await);
    let dead = bed.peer().await.ready("celeriac.dead").await;
    println!(
        "synchronous standby away for 8 s, {waiting} commits waited: {tally}; further attempts {further}, dead {dead}; \
         done {:.2} s after its return",
        begun.elapsed().as_secs_f64(),
    );
    assert_eq!((tally.missing, tally.doubled, further, dead), (0, 0, 0, 0), "{tally}");
    running.stop().await;
}
