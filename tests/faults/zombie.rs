//! A worker is stopped during transactional tasks, and continues after others have run them.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Program};

const COUNT: i64 = 60;

/// Declared here. The test program runs it.
#[task(name = "test.pay")]
async fn pay(number: i64, milliseconds: u64) -> i64;

fn worker(bed: &Bed, name: &str) -> Program {
    let arguments = ["worker", "-l", "debug", "-n", name, "-c", "8", "--prefetch", "16"];
    bed.process(&arguments)
}

#[celeriac_tests::test(real)]
async fn what_a_worker_commits_after_others_have_done_its_work_changes_nothing(bed: Bed) {
    let mut database = bed.database().await;
    sqlx::raw_sql("CREATE TABLE effects (number bigint, task text)").execute(&mut database).await.unwrap();
    let client = bed.client(bed.program([])).await;
    let mut zombie = worker(&bed, "zombie");
    zombie.says("  tasks").await;
    for sent in client.submit_many((0..COUNT).map(|number| pay(number, 1_000))).await {
        sent.unwrap();
    }
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'idle in transaction'";
    let in_the_middle = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("it is in the middle of eight tasks", in_the_middle, |open| *open == 8).await;
    zombie.signal("STOP");
    // Has the effect of missed heartbeats and `consumer_timeout`, at once: the broker closes the
    // connection, and delivers its messages to other consumers.
    let (management, vhost) = bed.management();
    eventually("its connections end", async || management.close_connections(vhost).await, |closed| *closed > 0).await;

    let mut other = worker(&bed, "other");
    let done = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
    let ended = async || sqlx::query_scalar::<_, i64>(done).fetch_one(&mut database).await.unwrap();
    eventually("the other has done all of it", ended, |done| *done == COUNT).await;
    let asleep: i64 = sqlx::query_scalar(open).fetch_one(&mut database).await.unwrap();
    assert_eq!(asleep, 8, "the transactions of the zombie are still open");
    zombie.signal("CONT");
    let awake = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("it has ended them", awake, |open| *open == 0).await;
    for worker in [&mut zombie, &mut other] {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    }
    let effects: i64 = sqlx::query_scalar("SELECT count(*) FROM effects").fetch_one(&mut database).await.unwrap();
    let of_different: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT number) FROM effects").fetch_one(&mut database).await.unwrap();
    println!(
        "issued {COUNT}, effected {effects}, missing {}, doubled {}",
        COUNT - of_different,
        effects - of_different
    );
    assert_eq!((effects, of_different), (COUNT, COUNT));
    let by_zombie: i64 = sqlx::query_scalar("SELECT count(*) FROM celeriac.tasks WHERE worker = 'zombie'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert!(by_zombie < COUNT, "the other had something to do");
    assert_eq!(bed.peer().await.ready("celeriac").await, 0);
}
