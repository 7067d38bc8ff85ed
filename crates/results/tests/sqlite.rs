//! The SQLite store passes the suite, in a file and in memory, and is shared between programs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use celeriac_config::Secret;
use celeriac_protocol::TaskState;
use celeriac_results::{
    AuditEntry, Backend, Error, LastError, Operator, OperatorAction, ResultsOptions, TaskRecord, conformance, connect,
    migrations,
};
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

async fn open(url: &str) -> Arc<dyn Backend> {
    let options = ResultsOptions { url: Secret::new(url), ..ResultsOptions::default() };
    connect(&options).await.unwrap().unwrap()
}

macro_rules! tests {
    ($($case:ident)*) => {
        mod a_file_passes {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("results.db");
                conformance::run(stringify!($case), open(&format!("sqlite://{}", file.display())).await).await;
            })*
        }

        mod memory_passes {
            use super::*;

            $(#[tokio::test]
            async fn $case() {
                let url = format!("sqlite://{}?mode=memory", stringify!($case));
                conformance::run(stringify!($case), open(&url).await).await;
            })*
        }
    };
}

celeriac_results::for_each_store_case!(tests);

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_a_new_file_and_those_beside_it_and_an_existing_one_keeps_its_rights() {
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = |end: &str| folder.path().join(format!("results.db{end}"));
    let rights = || ["", "-wal", "-shm"].map(|end| metadata(file(end)).unwrap().permissions().mode() & 0o777);
    let url = format!("sqlite://{}", file("").display());
    let store = open(&url).await;
    store.record(&[ended("t-1")]).await.unwrap();
    assert_eq!(rights().map(|mode| format!("{mode:o}")), ["600"; 3]);
    store.close().await;
    set_permissions(file(""), Permissions::from_mode(0o640)).unwrap();
    let store = open(&url).await;
    store.record(&[ended("t-2")]).await.unwrap();
    assert_eq!(rights().map(|mode| format!("{mode:o}")), ["640"; 3]);
    store.close().await;
}

#[tokio::test]
async fn migrations_are_pending_until_a_program_connects_and_a_look_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.db");
    let url = format!("sqlite://{}", file.display());
    let options = ResultsOptions { url: Secret::new(url.as_str()), ..ResultsOptions::default() };
    let pending = migrations(&options, LastError::default()).await.unwrap();
    assert!(!pending.is_empty() && pending.iter().all(|migration| !migration.applied), "{pending:?}");
    assert!(!file.exists());
    open(&url).await.close().await;
    let applied = migrations(&options, LastError::default()).await.unwrap();
    assert!(applied.len() == pending.len() && applied.iter().all(|migration| migration.applied), "{applied:?}");
}

#[tokio::test]
async fn memory_of_one_name_is_shared_in_the_process() {
    shares("sqlite://shared?mode=memory").await;
    let apart = open("sqlite://apart?mode=memory").await;
    assert_eq!(apart.find("told").await.unwrap(), None);
}

#[tokio::test]
async fn a_wait_sees_what_another_program_records_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    shares(&format!("sqlite://{}", folder.path().join("results.db").display())).await;
}

/// Waits on one connection for a record of another.
async fn shares(url: &str) {
    let (ours, theirs) = (open(url).await, open(url).await);
    let outcome = ended("told");
    let mut wait = std::pin::pin!(ours.finished("told"));
    // The first check finds nothing. Once another end is delivered, that check has passed.
    ours.record(&[ended("first")]).await.unwrap();
    let deadline = Duration::from_secs(20);
    tokio::select! {
        _ = &mut wait => panic!("nothing has ended yet"),
        first = tokio::time::timeout(deadline, ours.finished("first")) => drop(first.unwrap().unwrap()),
    }
    theirs.record(std::slice::from_ref(&outcome)).await.unwrap();
    assert_eq!(tokio::time::timeout(deadline, wait).await.unwrap().unwrap(), outcome);
    ours.close().await;
    theirs.close().await;
}

#[tokio::test]
async fn who_waits_is_sent_away_at_the_end() {
    let backend = open("sqlite://closed?mode=memory").await;
    let waiting = Arc::clone(&backend);
    let (told, ()) = tokio::join!(async move { waiting.finished("never").await }, backend.close());
    assert!(matches!(told, Err(Error::Closed)));
    assert!(matches!(backend.record(&[ended("late")]).await, Err(Error::Closed)));
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letter.txt");
    std::fs::write(&file, "Dear database, ".repeat(100)).unwrap();
    let options =
        ResultsOptions { url: Secret::new(format!("sqlite://{}", file.display())), ..ResultsOptions::default() };
    let error = connect(&options).await.unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn every_view_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.db");
    let backend = open(&format!("sqlite://{}", file.display())).await;
    backend.record(&[ended("one")]).await.unwrap();
    backend.close().await;
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    // The page on results names all tables and views, and no other.
    let (_, page) = include_str!("../../../docs/results.md").split_once("| | SQLite has |").unwrap();
    for (kind, row) in [("table", "| tables | "), ("view", "| views | ")] {
        let (_, rest) = page.split_once(row).unwrap();
        let cell = rest.split(" | ").next().unwrap();
        let mut named: Vec<_> = cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        named.sort();
        let names = "SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let found: Vec<String> = sqlx::query_scalar(names).bind(kind).fetch_all(&mut connection).await.unwrap();
        assert_eq!(found, named);
    }
    for view in ["slowest", "failures", "throughput", "queue_wait", "unfinished", "workflows"] {
        let rows =
            sqlx::query(AssertSqlSafe(format!("SELECT * FROM {view}"))).fetch_all(&mut connection).await.unwrap();
        let expected = usize::from(["slowest", "throughput", "queue_wait"].contains(&view));
        assert_eq!(rows.len(), expected, "{view}");
    }
}

#[tokio::test]
async fn an_action_is_on_record_before_and_after_it_and_is_swept_after_thirty_days_at_least() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.db");
    let backend = open(&format!("sqlite://{}", file.display())).await;
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    let operator = Operator::of_process("shop (celeriac 0.1.0)".to_owned());
    assert!(!operator.os_user.is_empty() && !operator.host.is_empty(), "{operator}");
    let action = OperatorAction { name: "revoke", target: serde_json::json!({ "ids": ["a"] }) };
    let entry = AuditEntry::begin(Arc::<dyn Backend>::clone(&backend), &operator, &action).await.unwrap();
    let row = "SELECT action, target, program, began_at IS NOT NULL, ended_at IS NOT NULL, count, error FROM audit";
    type Row = (String, String, String, bool, bool, Option<i64>, Option<String>);
    let begun: Row = sqlx::query_as(row).fetch_one(&mut connection).await.unwrap();
    let text = |text: &str| text.to_owned();
    let expected = (text("revoke"), text(r#"{"ids":["a"]}"#), text("shop (celeriac 0.1.0)"), true, false, None, None);
    assert_eq!(begun, expected);
    entry.end(1, Some("lost")).await.unwrap();
    let ended: Row = sqlx::query_as(row).fetch_one(&mut connection).await.unwrap();
    assert_eq!((ended.4, ended.5, ended.6.as_deref()), (true, Some(1), Some("lost")));

    for (age, swept) in [("-29 days", 0), ("-31 days", 1)] {
        let older = "UPDATE audit SET began_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?1)";
        sqlx::query(older).bind(age).execute(&mut connection).await.unwrap();
        assert_eq!(backend.sweep_audit(Duration::from_secs(1), 10).await.unwrap(), swept, "{age}");
    }
    backend.close().await;
}

fn ended(id: &str) -> TaskRecord {
    let time = |micros: i64| Some(Timestamp::from_microsecond(1_700_000_000_000_000 + micros).unwrap());
    TaskRecord {
        result: Some("7".to_owned()),
        queue: "celeriac".into(),
        routing_key: "celeriac".to_owned(),
        worker: "worker".into(),
        attempts: 1,
        sent_at: time(0),
        received_at: time(1),
        started_at: time(2),
        finished_at: time(3),
        runtime: Some(Duration::from_micros(1)),
        ..TaskRecord::new(id, "test", TaskState::Success)
    }
}
