//! Fingerprints of failures: each is stored with its row, and rows of before are grouped with them.

use std::time::Duration;

use celeriac_config::Secret;
use celeriac_protocol::{Failure, TaskState};
use celeriac_results::{ResultsOptions, TaskRecord};
use celeriac_telemetry::clock;
use celeriac_tests::Bed;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

fn failed(id: &str, message: &str, attempts: u32, replays: u32) -> TaskRecord {
    let now = clock::now();
    TaskRecord {
        queue: "billing".into(),
        attempts,
        replays,
        started_at: Some(now - Duration::from_millis(20)),
        finished_at: Some(now),
        failure: Some(Failure {
            kind: "Declined".to_owned(),
            module: None,
            args: None,
            message: message.to_owned(),
            trace: Some("  File \"/srv/shop.py\", line 3, in charge".to_owned()),
        }),
        ..TaskRecord::new(id, "orders.charge", TaskState::Failure)
    }
}

/// Returns the stored fingerprint of a row, and the one that its columns have.
async fn stored(database: &mut PgConnection, id: &str) -> (Option<String>, String) {
    sqlx::query_as(
        "SELECT fingerprint, celeriac.fingerprint(name, state, error_kind, error_message, error_trace)
        FROM celeriac.tasks WHERE id = $1",
    )
    .bind(id)
    .fetch_one(database)
    .await
    .unwrap()
}

#[celeriac_tests::test(real)]
async fn a_failure_is_stored_with_its_fingerprint(bed: Bed) {
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let store = celeriac_results::connect(&options).await.unwrap().unwrap();
    let mut database = bed.database().await;
    let waits = TaskRecord { state: TaskState::Retry, finished_at: None, ..failed("b", "no card 17", 1, 0) };
    let succeeded = TaskRecord { state: TaskState::Success, failure: None, ..failed("c", "", 1, 0) };
    store.record(&[failed("a", "no card 17", 1, 0), waits, succeeded]).await.unwrap();
    let (a, computed) = stored(&mut database, "a").await;
    assert_eq!(a.as_ref(), Some(&computed));
    for id in ["b", "c"] {
        assert_eq!(stored(&mut database, id).await.0, None, "{id} has not failed");
    }
    // The last attempt of a task, and another error of a replay, replace a row.
    store.record(&[failed("b", "no card 9", 2, 0), failed("a", "no account", 1, 1)]).await.unwrap();
    assert_eq!(stored(&mut database, "b").await.0, a, "numbers do not count");
    let (replayed, computed) = stored(&mut database, "a").await;
    assert_eq!(replayed.as_ref(), Some(&computed));
    assert_ne!(replayed, a);
    store.close().await;
}

/// Three failures of one kind, one of them as a version without fingerprints wrote it.
const MIXED: &str =
    "INSERT INTO celeriac.tasks (id, name, state, error_kind, error_message, queue, exchange, routing_key,
                                                 worker, attempts, finished_at)
    SELECT 'f-' || n, 'orders.charge', 'FAILURE', 'Declined', 'card ' || n, 'billing', '', 'billing', 'w', 1,
           now() - n * interval '1 min'
    FROM generate_series(1, 3) AS n;
    UPDATE celeriac.tasks SET fingerprint = NULL WHERE id = 'f-2'";

#[celeriac_tests::test(real)]
async fn failures_of_before_are_grouped_with_those_that_have_a_fingerprint(bed: Bed) {
    bed.program([]).build().unwrap().client().await.unwrap().close().await;
    let mut database = bed.database().await;
    database.execute(sqlx::raw_sql(MIXED)).await.unwrap();
    for groups in [
        include_str!("../../crates/results/cookbook/errors.sql"),
        "SELECT fingerprint, tasks, last_id FROM celeriac.failure_groups",
        "SELECT fingerprint, count(*) AS tasks, min(id) AS last_id FROM celeriac.failed_tasks GROUP BY fingerprint",
    ] {
        let sql = groups.trim_end().trim_end_matches(';');
        let sql = AssertSqlSafe(format!("SELECT tasks, last_id FROM ({sql}) AS groups"));
        let found: Vec<(i64, String)> = sqlx::query_as(sql).fetch_all(&mut database).await.unwrap();
        assert_eq!(found, [(3, "f-1".to_owned())], "{groups}");
    }
    // A new error of one row of before makes a fingerprint, and no error changes none.
    database.execute("UPDATE celeriac.tasks SET error_kind = 'Refused' WHERE id = 'f-2'").await.unwrap();
    let (now, computed) = stored(&mut database, "f-2").await;
    assert_eq!(now, Some(computed));
}

#[celeriac_tests::test(real)]
async fn the_place_of_an_error_is_the_last_frame_of_the_program(bed: Bed) {
    bed.program([]).build().unwrap().client().await.unwrap().close().await;
    let mut database = bed.database().await;
    let cases = [
        ("", None),
        ("  File \"/a.py\", line 1, in f\n    y\n  File \"/usr/lib/python3/x.py\", line 2, in g\n", Some("/a.py in f")),
        ("  File \"/a.py\", line 1, in f\n  File \"/b.py\", line 2, in <lambda>\r\n", Some("/b.py in <lambda>")),
        ("  File \"<string>\", line 1, in f", None),
        ("File \"a\", line 1, in f File \"b\", line 2, in g", Some("a in f")),
        ("x\n File\n \"a\", line 1, in f", None),
        (
            "   0: shop::charge\n             at ./src/charge.rs:12:5\n   1: x\n             at ./b.rs:1\n",
            Some("src/charge.rs"),
        ),
        ("   0: core::x\n             at /rustc/abc/lib.rs:1:1\n", None),
        ("x\n\tat ./src/a.rs:1:2", Some("src/a.rs")),
        (" at ./src/a.rs:1", None),
    ];
    for (trace, expected) in cases {
        let found: Option<String> =
            sqlx::query_scalar("SELECT celeriac.own_frame($1)").bind(trace).fetch_one(&mut database).await.unwrap();
        assert_eq!(found.as_deref(), expected, "{trace}");
    }
}
