//! The log lines of a worker while a server is away.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_servers::{Durability, PostgresNode, RabbitSpec};
use celeriac_tests::wait::eventually_within;
use celeriac_tests::{Bed, Book, Effects, Program};
use sqlx::{Connection, PgConnection};

/// Number of attempts after which a line that repeats would be seen.
const ATTEMPTS: usize = 5;

/// Declared here. The test program runs them.
#[task(name = "test.note")]
async fn note(number: u64) -> u64;

#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// Waits until the worker has logged `text` often.
async fn often(worker: &Program, text: &str) {
    let times = async || worker.output().matches(text).count();
    eventually_within(Duration::from_secs(60), text, times, |times| *times >= ATTEMPTS).await;
}

/// Returns the warnings and errors of a worker, but those of a busy machine.
fn warnings(worker: &Program) -> Vec<String> {
    let output = worker.output();
    let is_warning = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
    let is_slow = |line: &&str| line.contains("revocations read slowly");
    output.lines().filter(is_warning).filter(|line| !is_slow(line)).map(str::to_owned).collect()
}

async fn stop(worker: &mut Program) {
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_broker_that_is_away_is_told_by_its_connections_alone_however_often_its_users_try(bed: Bed) {
    let node = RabbitSpec::default().start().unwrap();
    let variables = [("CELERIAC__BROKER__URL", node.url()), ("CELERIAC__BROKER__PUBLISH_TIMEOUT", "500ms".to_owned())];
    let start = |name| bed.process_with(&["worker", "-l", "debug", "-n", name], &variables);
    let mut worker = start("early");
    worker.says("worker ready").await;
    worker.says("relay started").await;
    let client = bed.client(bed.program([]).set("broker.url", node.url())).await;

    node.stop().unwrap();
    let mut late = start("late");
    let mut sender = bed.database().await;
    let mut transaction = sender.begin().await.unwrap();
    let relayed = client.submit_in(&mut transaction, note(7)).await.unwrap();
    transaction.commit().await.unwrap();
    often(&worker, "broker awaited work=relay").await;
    often(&late, "broker awaited work=consumers").await;

    node.restart().unwrap();
    late.says("worker ready").await;
    worker.says("consumer restored").await;
    assert_eq!(relayed.wait().await.unwrap().state, TaskState::Success);
    stop(&mut worker).await;
    stop(&mut late).await;
    let (early, late) = (warnings(&worker), warnings(&late));
    println!("broker away: warnings of a worker {}, of one that starts meanwhile {}", early.len(), late.len());
    for line in early.iter().chain(&late) {
        assert!(line.contains("celeriac::broker: con"), "{early:#?}\n{late:#?}");
    }
    for purpose in ["purpose=publish", "purpose=consume"] {
        let lost = early.iter().filter(|line| line.contains("connection lost") && line.contains(purpose));
        assert!(lost.count() <= 1, "{early:#?}");
    }
    // A worker has a consumer for each queue, and one for remote control.
    assert!(early.len() <= 12 && late.len() <= 3, "{early:#?}\n{late:#?}");
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_database_that_takes_no_writes_is_one_line_and_so_is_its_return(bed: Bed) {
    // A server of its own, because other tests need theirs.
    let postgres = PostgresNode::start(Durability::Fast).unwrap();
    let variables = [("CELERIAC__RESULTS__URL", postgres.url())];
    let mut worker = bed.process_with(&["worker", "-l", "debug", "-n", "writer"], &variables);
    worker.says("worker ready").await;
    let client = bed.client(bed.program([]).set("results.url", postgres.url())).await;
    Book::open(&postgres.url(), Effects::Written).await;
    effect_exactly(0).submit(&client).await.unwrap().get().await.unwrap();

    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    read_only(&mut database, true).await;
    let handle = effect_exactly(0).submit(&client).await.unwrap();
    often(&worker, "task awaits result store task=test.effect_exactly").await;
    read_only(&mut database, false).await;
    handle.get().await.unwrap();
    worker.says("result store restored").await;
    stop(&mut worker).await;
    let warnings = warnings(&worker);
    let [line] = &warnings[..] else { panic!("{warnings:#?}") };
    assert!(line.contains("result store lost") && line.contains("read-only"), "{line}");
    assert_eq!(worker.output().matches("result store restored").count(), 1, "{}", worker.output());
}

/// Changes the mode of the server for new transactions.
async fn read_only(database: &mut PgConnection, read_only: bool) {
    let change = if read_only { "on" } else { "off" };
    for statement in [
        "SET default_transaction_read_only = off".to_owned(),
        format!("ALTER SYSTEM SET default_transaction_read_only = {change}"),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *database).await.unwrap();
    }
}
