//! Postgres is stopped for ten seconds during a drain.

use std::time::Duration;

use celeriac::tasks;
use celeriac_servers::{Durability, PostgresNode};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;
use futures::StreamExt;
use sqlx::{Connection, PgConnection};

use crate::ledger::note;

const TASKS: u64 = 20_000;

#[celeriac_tests::test(real, threads = 2)]
async fn nothing_is_acknowledged_unrecorded_while_postgres_is_away_and_the_drain_goes_on_by_itself(bed: Bed) {
    // A server of its own, because other tests need theirs.
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let program = || bed.program(tasks![note]).set("results.url", postgres.url());
    let client = bed.client(program()).await;
    let submitted: Vec<_> = client.submit_stream((0..TASKS).map(note)).collect().await;
    assert!(submitted.iter().all(Result::is_ok));
    client.close().await;

    let running = bed.start(program()).await;
    eventually("the drain has begun", async || recorded(&postgres).await, |rows| *rows > 500).await;
    postgres.stop().unwrap();
    // The ten seconds without the database are the fault itself.
    tokio::time::sleep(Duration::from_secs(10)).await;
    postgres.restart().unwrap();
    let rows = recorded(&postgres).await;
    assert!(rows < TASKS.cast_signed(), "the database was stopped after the drain, which proves nothing");

    let rows =
        eventually("the drain goes on", async || recorded(&postgres).await, |rows| *rows == TASKS.cast_signed()).await;
    running.stop().await;
    let peer = bed.peer().await;
    let (waiting, dead) = (peer.ready("celeriac").await, peer.ready("celeriac.dead").await);
    println!("postgres away for 10 s: issued {TASKS}, recorded {rows}, left on the queue {waiting}, dead {dead}");
    assert_eq!((waiting, dead), (0, 0));
}

#[celeriac_tests::test(real, threads = 2)]
async fn what_postgres_cannot_take_stays_on_the_queue_when_the_worker_is_stopped(bed: Bed) {
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let program = || bed.program(tasks![note]).set("results.url", postgres.url()).set("worker.drain_timeout", "500ms");
    let running = bed.start(program()).await;
    postgres.stop().unwrap();
    let submitted: Vec<_> = running.client.submit_stream((0..300).map(note)).collect().await;
    assert!(submitted.iter().all(Result::is_ok));
    running.stop().await;
    let peer = bed.peer().await;
    let left = eventually("all tasks are back", async || peer.ready("celeriac").await, |left| *left == 300).await;
    println!("postgres away, worker stopped: issued 300, left on the queue {left}");

    postgres.restart().unwrap();
    let running = bed.start(program()).await;
    eventually("they are run after all", async || recorded(&postgres).await, |rows| *rows == 300).await;
    running.stop().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn sends_succeed_while_postgres_is_away_and_their_rows_follow(bed: Bed) {
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let program = || bed.program(tasks![note]).set("results.url", postgres.url()).set("results.track", "sent");
    let client = bed.client(program()).await;
    postgres.stop().unwrap();
    let submitted: Vec<_> = client.submit_stream((0..300).map(note)).collect().await;
    assert!(submitted.iter().all(Result::is_ok));
    postgres.restart().unwrap();
    let sent = async || states(&postgres, "SENT").await;
    eventually("the rows are written", sent, |rows| *rows == 300).await;
    // What still waits when a client closes is counted.
    postgres.stop().unwrap();
    let submitted: Vec<_> = client.submit_stream((300..400).map(note)).collect().await;
    assert!(submitted.iter().all(Result::is_ok));
    let began = std::time::Instant::now();
    client.close().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    postgres.restart().unwrap();
    let running = bed.start(program()).await;
    eventually("all of them run", async || recorded(&postgres).await, |rows| *rows == 400).await;
    println!("postgres away: 400 sent, 300 rows written later, 100 given up at the close, 400 run");
    assert_eq!(states(&postgres, "SENT").await, 0);
    running.stop().await;
}

async fn states(postgres: &PostgresNode, state: &str) -> i64 {
    let Ok(mut database) = PgConnection::connect(&postgres.url()).await else { return 0 };
    let count = sqlx::query_scalar("SELECT count(*) FROM celeriac.tasks WHERE state = $1").bind(state);
    count.fetch_one(&mut database).await.unwrap_or(0)
}

/// Returns the number of recorded successes, or zero while the database is down.
async fn recorded(postgres: &PostgresNode) -> i64 {
    states(postgres, "SUCCESS").await
}
