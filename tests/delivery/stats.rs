//! Counts of outcomes: `celeriac.stats`.

use std::time::Duration;

use celeriac_config::Secret;
use celeriac_protocol::TaskState;
use celeriac_results::{Backend, ResultsOptions, TaskRecord};
use celeriac_telemetry::clock;
use celeriac_tests::Bed;
use sqlx::{Executor, PgConnection};

async fn store(bed: &Bed) -> std::sync::Arc<dyn Backend> {
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    celeriac_results::connect(&options).await.unwrap().unwrap()
}

fn record(id: &str, state: TaskState, attempts: u32, runtime: u64) -> TaskRecord {
    let now = clock::now();
    let runtime = Duration::from_millis(runtime);
    TaskRecord {
        queue: "billing".into(),
        worker: "w1".into(),
        attempts,
        sent_at: Some(now - Duration::from_millis(300) - runtime),
        started_at: Some(now - runtime),
        finished_at: state.is_final().then_some(now),
        runtime: Some(runtime),
        ..TaskRecord::new(id, "orders.charge", state)
    }
}

/// Returns state, tasks, runs and waits.
async fn counted(database: &mut PgConnection) -> Vec<(String, i64, i64, i64)> {
    let counts = "SELECT state, sum(tasks)::bigint, sum(runs)::bigint, sum(waits)::bigint FROM celeriac.stats
        WHERE queue = 'billing' AND name = 'orders.charge' GROUP BY state ORDER BY state";
    sqlx::query_as(counts).fetch_all(database).await.unwrap()
}

#[celeriac_tests::test(real)]
async fn each_outcome_is_counted_once_also_if_it_is_written_again(bed: Bed) {
    let store = store(&bed).await;
    let mut database = bed.database().await;
    let failed = record("a", TaskState::Failure, 1, 20);
    let records = [
        failed.clone(),
        record("b", TaskState::Success, 1, 20),
        record("c", TaskState::Retry, 1, 20),
        record("d", TaskState::Started, 1, 0),
        TaskRecord { runtime: None, started_at: None, attempts: 0, ..record("e", TaskState::Revoked, 0, 0) },
    ];
    for _ in 0..3 {
        store.record(&records).await.unwrap();
    }
    let of = |state: &str, tasks, runs, waits| (state.to_owned(), tasks, runs, waits);
    let mut expected =
        vec![of("FAILURE", 1, 1, 1), of("RETRY", 1, 1, 0), of("REVOKED", 1, 0, 0), of("SUCCESS", 1, 1, 1)];
    assert_eq!(counted(&mut database).await, expected);

    // Further outcomes of the same tasks: a later success, a second retry, and what stays as it is.
    let later = [
        record("a", TaskState::Success, 1, 20),
        record("c", TaskState::Retry, 2, 20),
        record("b", TaskState::Failure, 1, 20),
        record("d", TaskState::Success, 1, 20),
    ];
    store.record(&later).await.unwrap();
    store.record(&[failed]).await.unwrap();
    (expected[1], expected[3]) = (of("RETRY", 2, 2, 0), of("SUCCESS", 3, 3, 3));
    assert_eq!(counted(&mut database).await, expected);

    // An operator's actions are no outcomes.
    database
        .execute("SELECT celeriac.forget('a'); UPDATE celeriac.tasks SET replays = 1 WHERE id = 'c'")
        .await
        .unwrap();
    assert_eq!(counted(&mut database).await, expected);
    store.close().await;
}

/// Outcomes of four ages, of all kinds of buckets.
const AGED: &str = "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, sent_at,
                                                started_at, finished_at, runtime)
    SELECT age || '-' || n, 'orders.charge', CASE WHEN n % 10 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, 'billing', '', 'billing',
           'w1', 1, at - interval '3 s', at - interval '1 s', at, 0.001 * n
    FROM generate_series(1, 500) AS n,
         unnest('{1 s, 30 min, 5 d, 400 d}'::interval[]) AS age,
         LATERAL (SELECT now() - age - (n % 50) * interval '3 s') AS ended (at)";

#[celeriac_tests::test(real)]
async fn counts_are_added_up_by_age_and_stay_exact(bed: Bed) {
    let store = store(&bed).await;
    let mut database = bed.database().await;
    database.execute(AGED).await.unwrap();
    let totals =
        "SELECT sum(tasks)::bigint, sum(runs)::bigint, sum(waits)::bigint, sum(runtime_seconds)::numeric(9, 3)::text,
            sum(wait_seconds)::numeric(9, 3)::text, max(max_runtime), max(max_wait),
            celeriac.sum_buckets(runtime_buckets), celeriac.sum_buckets(wait_buckets)
        FROM celeriac.stats WHERE at > now() - interval '100 days'";
    type Totals = (i64, i64, i64, String, String, f64, f64, Vec<i64>, Vec<i64>);
    let before: Totals = sqlx::query_as(totals).fetch_one(&mut database).await.unwrap();
    assert_eq!((before.0, before.7.iter().sum(), before.8.iter().sum()), (1_500, 1_500, 1_500));
    let exact: (f64, f64) = sqlx::query_as(
        "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY runtime), max(estimated) FROM celeriac.tasks,
            (SELECT celeriac.percentile(celeriac.sum_buckets(runtime_buckets), 0.95) FROM celeriac.stats) AS s (estimated)",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert!((exact.0 - exact.1).abs() < 0.02, "{exact:?}");

    // Small pieces, so that an interval is added up in several statements.
    let options = ResultsOptions::default();
    store.postgres().unwrap().compact_stats(&options.stats, 7).await.unwrap();
    let after: Totals = sqlx::query_as(totals).fetch_one(&mut database).await.unwrap();
    assert_eq!(after, before);
    let rows: Vec<(i32, i64, bool)> = sqlx::query_as(
        "SELECT seconds, sum(tasks)::bigint, bool_and(extract(epoch FROM at)::bigint % seconds = 0) FROM celeriac.stats
        GROUP BY seconds ORDER BY seconds",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    assert_eq!(rows, [(10, 500, true), (60, 500, true), (3600, 500, true)], "the oldest are deleted");
    store.close().await;
}

/// Thirty outcomes half a minute ago, one more that waits for its next attempt, and older ones.
const DRAINED: &str =
    "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, started_at, finished_at, runtime)
    SELECT age || '-' || n, 'orders.charge', 'SUCCESS', 'billing', '', 'billing', 'w1', 1, now() - age, now() - age, 0
    FROM generate_series(1, 30) AS n, unnest('{35 s, 90 s}'::interval[]) AS age;
    INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, started_at, runtime)
    SELECT 'r', 'orders.charge', 'RETRY', 'billing', '', 'billing', 'w1', 1, now() - interval '30 s', 0";

#[celeriac_tests::test(real)]
async fn a_queue_is_expected_to_drain_at_the_rate_of_the_last_minute(bed: Bed) {
    let store = store(&bed).await;
    let mut database = bed.database().await;
    database.execute(DRAINED).await.unwrap();
    let queues = [("billing", 62), ("billing", 0), ("idle", 0), ("idle", 1)];
    let queues = queues.map(|(queue, ready)| (queue.into(), ready));
    let waits = store.postgres().unwrap().expected_waits(&queues).await.unwrap();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(waits, [seconds(120), seconds(0), seconds(0), None]);
    store.close().await;
}

#[celeriac_tests::test(real)]
async fn one_process_sweeps_until_its_lease_has_expired(bed: Bed) {
    let (one, other) = (store(&bed).await, store(&bed).await);
    let claim = async |store: &std::sync::Arc<dyn Backend>, lease| {
        store.postgres().unwrap().claim_sweep(Duration::from_secs(lease)).await.unwrap()
    };
    assert!(claim(&one, 60).await && !claim(&other, 60).await && claim(&one, 60).await);
    bed.database().await.execute("UPDATE celeriac.leases SET expires_at = now() - interval '1 s'").await.unwrap();
    assert!(claim(&other, 60).await && !claim(&one, 60).await);
    one.close().await;
    other.close().await;
}
