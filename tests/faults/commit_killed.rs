//! Postgres is killed during the commits of transactional tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_servers::{Durability, PostgresNode};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually_within;
use tokio_util::sync::CancellationToken;

use crate::in_turn::blocking;
use crate::ledger::is_long;

#[task(name = "test.book", transactional, max_retries = none, retry_backoff = "100ms..1s")]
async fn book(ctx: TaskContext, tx: &mut PgConnection, number: i64) -> TaskResult<i64> {
    let effect = sqlx::query("INSERT INTO effects (number, task) VALUES ($1, $2)").bind(number).bind(ctx.id());
    effect.execute(&mut *tx).await?;
    Ok(number)
}

/// Smallest number of kills for a meaningful test.
const KILLS: u32 = 4;

/// Kills the server at intervals until `done`, and counts the kills.
async fn keep_killing(node: &Arc<PostgresNode>, kills: &AtomicU32, done: &CancellationToken) {
    loop {
        let life = Duration::from_millis(fastrand::u64(800..2_500));
        if done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
            return;
        }
        let node = Arc::clone(node);
        blocking(move || {
            node.kill().unwrap();
            node.restart().unwrap();
        })
        .await;
        kills.fetch_add(1, Ordering::Relaxed);
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn effects_are_exact_although_the_database_is_killed_while_it_commits(bed: Bed) {
    let (least, part): (i64, i64) = (if is_long() { 50_000 } else { 3_000 }, 1_000);
    let node = Arc::new(blocking(|| PostgresNode::start(Durability::Real).unwrap()).await);
    let url = node.url();
    let mut database = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE effects (number bigint, task text)").execute(&mut database).await.unwrap();
    let running = bed.start(bed.program(tasks![book]).set("results.url", url.clone())).await;
    let (kills, done) = (AtomicU32::new(0), CancellationToken::new());
    let issued = async {
        let ended = async || {
            let Ok(mut database) = PgConnection::connect(&url).await else { return 0 };
            let rows = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'");
            rows.fetch_one(&mut database).await.unwrap_or(0)
        };
        let mut count = 0;
        // A fast machine runs many tasks before the first kill.
        while count < least || kills.load(Ordering::Relaxed) < KILLS {
            for sent in running.client.submit_many((count..count + part).map(book)).await {
                sent.unwrap();
            }
            count += part;
            eventually_within(Duration::from_secs(300), "every task has ended", ended, |rows| *rows == count).await;
        }
        done.cancel();
        count
    };
    // Retries have no limit here, because the test is about the number of commits.
    let ((), count) = tokio::join!(keep_killing(&node, &kills, &done), issued);
    let kills = kills.into_inner();
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut count_of =
        async |rows: &'static str| -> i64 { sqlx::query_scalar(rows).fetch_one(&mut database).await.unwrap() };
    let successes = count_of("SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'").await;
    let effects = count_of("SELECT count(*) FROM effects").await;
    let effected =
        count_of("SELECT count(DISTINCT number) FROM effects JOIN celeriac.tasks ON id = task AND state = 'SUCCESS'")
            .await;
    println!(
        "Postgres killed {kills}: issued {count}, succeeded {successes}, effected {effects}, missing {}, doubled {}",
        successes - effected,
        effects - effected
    );
    assert_eq!(
        (effects, effected),
        (successes, successes),
        "each success has its effect, once, and nothing else has any"
    );
    assert_eq!(successes, count, "every task has ended");
    running.stop().await;
}
