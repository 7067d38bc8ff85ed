//! Thousands wait while their database is killed and the session that listens is ended.

use std::time::Duration;

use celeriac::tasks;
use celeriac::{TaskRecord, prelude::TaskState};
use celeriac_config::Secret;
use celeriac_results::{Backend, ResultsOptions};
use celeriac_servers::{Durability, PostgresNode};
use celeriac_tests::Bed;
use celeriac_tests::wait::PATIENCE;
use futures::future::join_all;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use crate::ledger::note;

const WAITS: usize = 3_000;
const BATCH: usize = 250;

#[celeriac_tests::test(real, threads = 2)]
async fn every_wait_ends_although_the_database_is_killed_and_its_sessions_are_ended(bed: Bed) {
    // A server of its own, because other tests need theirs.
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let client = bed.client(bed.program(tasks![note]).set("results.url", postgres.url())).await;
    let options = ResultsOptions { url: Secret::new(postgres.url()), ..ResultsOptions::default() };
    let worker = celeriac_results::connect(&options).await.unwrap().unwrap();
    let waits = join_all((0..WAITS).map(|number| {
        let handle = client.handle::<usize>(format!("wait-{number}"));
        async move { handle.get_timeout(2 * PATIENCE).await.map_err(|error| error.to_string()) }
    }));
    let faults = async {
        let (mut ended, mut killed) = (0, 0);
        for (round, first) in (0..WAITS).step_by(BATCH).enumerate() {
            // The sessions end before the batch, after it, or while it is read.
            match round % 4 {
                0 => ended += end_sessions(&postgres).await,
                1 => {
                    postgres.kill().unwrap();
                    postgres.restart().unwrap();
                    killed += 1;
                }
                _ => {}
            }
            record(&*worker, first..first + BATCH).await;
            if round % 4 == 2 {
                ended += end_sessions(&postgres).await;
            }
        }
        (ended, killed)
    };
    let (outcomes, (ended, killed)) = tokio::join!(waits, faults);
    let expected: Vec<_> = (0..WAITS).map(Ok).collect();
    assert_eq!(outcomes, expected);
    println!("waiting: {WAITS} waits, database killed {killed} times, {ended} sessions ended, all waits ended");
    assert!(ended > 3 && killed == 3);
    worker.close().await;
}

/// Ends every session of Celeriac, that which listens among them. Returns their number.
async fn end_sessions(postgres: &PostgresNode) -> i64 {
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'celeriac'";
    sqlx::query_scalar(end).fetch_one(&mut database).await.unwrap()
}

/// Records successes, as a recorder does: until the store takes them.
async fn record(worker: &dyn Backend, numbers: std::ops::Range<usize>) {
    let success = |number: usize| TaskRecord {
        result: Some(number.to_string()),
        worker: "w".into(),
        attempts: 1,
        finished_at: Some("2026-11-30T12:00:00Z".parse().unwrap()),
        ..TaskRecord::new(format!("wait-{number}"), "t.note", TaskState::Success)
    };
    let records: Vec<_> = numbers.map(success).collect();
    let end = Instant::now() + PATIENCE;
    while let Err(error) = worker.record(&records).await {
        assert!(error.is_retryable() && Instant::now() < end, "{error}");
        sleep(Duration::from_millis(50)).await;
    }
}
