//! `results.logs`: the log lines of each attempt are kept with the row of its task.

use std::path::Path;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Program};
use serde_json::{Value as Json, json};

use crate::command_line::run;

/// The tasks of the test program, whose workers are processes with log lines.
#[task(name = "test.log")]
fn log(lines: u32, secret: String) -> u32;
#[task(name = "test.log_when")]
fn log_when(path: String);
#[task(name = "test.log_in")]
fn log_in();

const SECRET: &str = "4111-1111\r\n1111";

/// Starts a worker that keeps this many bytes of each attempt.
async fn worker(bed: &Bed, name: &str, logs: &str, journal: &Path) -> Program {
    let variables = [("CELERIAC__RESULTS__LOGS", logs.to_owned()), ("JOURNAL", journal.to_string_lossy().into_owned())];
    let mut worker = bed.process_with(&["worker", "-n", name], &variables);
    worker.says("ready").await;
    worker
}

async fn count(bed: &Bed) -> i64 {
    let count = "SELECT count(*) FROM celeriac.attempt_logs";
    sqlx::query_scalar(count).fetch_one(&mut bed.database().await).await.unwrap()
}

#[celeriac_tests::test(real)]
async fn the_lines_of_each_attempt_are_shown_by_a_command_and_in_sql_without_secrets(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    let worker = worker(&bed, "w1", "64KiB", &folder.path().join("journal")).await;
    let client = bed.client(bed.program([])).await;
    let handle = log(2, SECRET.to_owned()).task_id("two").submit(&client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 2);
    log_in().task_id("in").submit(&client).await.unwrap().get().await.unwrap();

    let (code, said) = run(&["logs", "two"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    let lines: Vec<_> = said.lines().map(|line| line.split_once("INFO ").map_or(line, |(_, line)| line)).collect();
    let expected = |attempt, line| {
        format!("celeriac_test_program: attempt {attempt} has [redacted]\\u{{0}} line={line} secret=\"[redacted]\"")
    };
    assert_eq!(lines[0], "attempt 1 on w1");
    assert_eq!(lines[1..3], [expected(1, 1), expected(1, 2)]);
    assert_eq!(lines[3], "attempt 2 on w1");
    assert_eq!(lines.len(), 6, "{said}");

    let (code, said) = run(&["logs", "two", "--attempt", "2", "--json"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    let shown: Json = serde_json::from_str(&said).unwrap();
    let text = shown[0]["text"].as_str().unwrap();
    assert!(shown.as_array().unwrap().len() == 1 && text.contains("attempt 2 has [redacted]"), "{said}");
    assert_eq!(shown[0]["lines"], json!(2));

    let rows =
        "SELECT id || ' ' || replays || ' ' || attempt || ' ' || worker || ' ' || lines || ' ' || left_out || ' '
            || (text LIKE '%in the transaction') FROM celeriac.attempt_logs ORDER BY id, attempt";
    let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut bed.database().await).await.unwrap();
    assert_eq!(rows, ["in 0 1 w1 1 0 true", "two 0 1 w1 2 0 false", "two 0 2 w1 2 0 false"]);
    let output = worker.output();
    assert!(output.contains("4111-1111"), "the log of the worker is the task's own: {output}");
    let hidden = "SELECT count(*) FROM celeriac.attempt_logs WHERE text LIKE '%4111%'";
    assert_eq!(sqlx::query_scalar::<_, i64>(hidden).fetch_one(&mut bed.database().await).await.unwrap(), 0);
}

#[celeriac_tests::test(real)]
async fn beyond_the_bound_the_first_and_the_last_lines_stay_with_a_mark(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    let _worker = worker(&bed, "w1", "4KiB", &folder.path().join("journal")).await;
    let client = bed.client(bed.program([])).await;
    log(500, "none".to_owned()).task_id("much").submit(&client).await.unwrap().get().await.unwrap();
    let (code, said) = run(&["logs", "much", "--attempt", "1", "--json"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    let shown: Json = serde_json::from_str(&said).unwrap();
    let text = shown[0]["text"].as_str().unwrap();
    let (kept, left_out) = (shown[0]["lines"].as_u64().unwrap(), shown[0]["left_out"].as_u64().unwrap());
    assert_eq!(kept + left_out, 500, "{said}");
    assert!(text.len() < 4_096 + 100 && text.contains(" line=1 ") && text.contains(" line=500 "), "{text}");
    let mark = text.lines().find(|line| line.starts_with('…')).unwrap();
    assert!(mark.starts_with(&format!("… {left_out} lines (")), "{mark}");
    assert!(mark.ends_with(" KiB) left out: results.logs is 4KiB"), "{mark}");
}

#[celeriac_tests::test(real)]
async fn nothing_is_kept_by_default_and_the_command_says_so(bed: Bed) {
    let mut worker = bed.process(&["worker"]);
    worker.says("ready").await;
    let client = bed.client(bed.program([])).await;
    log(2, SECRET.to_owned()).task_id("off").submit(&client).await.unwrap().get().await.unwrap();
    assert_eq!(count(&bed).await, 0);
    for (id, reason) in [
        ("off", "task off: no log lines are kept: it logged none, or results.logs was not set in its worker"),
        ("unknown", "task unknown: no result is recorded in postgres://"),
    ] {
        let (code, said) = run(&["logs", id], &bed.environment()).await;
        assert!(code == 65 && said.contains(reason), "{code} {said}");
    }
    for store in ["sqlite://a.db?mode=memory", "none"] {
        let (code, said) = run(&["logs", "off", "--results", store], &bed.environment()).await;
        assert!(code == 78 && said.contains("needs Postgres"), "{code} {said}");
    }
}

#[celeriac_tests::test(real)]
async fn a_killed_attempt_leaves_no_lines_and_the_next_run_has_its_own(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    let (journal, path) = (folder.path().join("journal"), folder.path().join("go"));
    let first = worker(&bed, "first", "64KiB", &journal).await;
    let client = bed.client(bed.program([])).await;
    let handle = log_when(path.to_string_lossy().into_owned()).task_id("killed").submit(&client).await.unwrap();
    let begun = async || std::fs::read_to_string(&journal).unwrap_or_default().lines().count();
    eventually("it runs", begun, |begun| *begun == 1).await;
    first.kill().await;
    assert_eq!(count(&bed).await, 0);

    let second = worker(&bed, "second", "64KiB", &journal).await;
    eventually("it runs again", begun, |begun| *begun == 2).await;
    std::fs::write(&path, "").unwrap();
    handle.get().await.unwrap();
    let logs = "SELECT attempt || ' ' || worker || ' ' || lines || ' ' || text FROM celeriac.attempt_logs";
    let logs: Vec<String> = sqlx::query_scalar(logs).fetch_all(&mut bed.database().await).await.unwrap();
    let [log] = &logs[..] else { panic!("{logs:?}") };
    let end = format!(" waiting process={}", second.id());
    assert!(log.starts_with("1 second 1 ") && log.ends_with(&end), "{log}");
}

#[celeriac_tests::test(real)]
async fn lines_are_deleted_with_their_task(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let fill =
        "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, finished_at)
        SELECT 't' || day, 't', 'SUCCESS', 'q', '', 'q', 'w1', 1, now() - day * interval '1 day'
        FROM generate_series(1, 30) AS day;
        INSERT INTO celeriac.attempt_logs
        SELECT 't' || day, 0, attempt, 'w1', 1, 0, 'a line'
        FROM generate_series(1, 30) AS day, generate_series(1, 2) AS attempt";
    bed.database().await.execute(sqlx::raw_sql(fill)).await.unwrap();
    assert!(client.handle::<()>("t1").forget().await.unwrap());
    assert_eq!(count(&bed).await, 58);
    let (code, said) = run(&["db", "prune", "--older-than", "20d", "--yes"], &bed.environment()).await;
    assert!(code == 0 && said.contains("deleted 11 tasks"), "{said}");
    assert_eq!(count(&bed).await, 36);
    let store = client.results().unwrap();
    assert_eq!(store.sweep(Duration::from_secs(7 * 24 * 3_600), 1_000).await.unwrap(), 13);
    assert_eq!(count(&bed).await, 10);
    let (_, said) = run(&["db", "size"], &bed.environment()).await;
    assert!(said.contains("attempt_logs"), "{said}");
}

#[celeriac_tests::test(real)]
async fn a_database_that_cannot_hold_every_line_is_refused(bed: Bed) {
    let mut database = bed.database().await;
    let name = format!("{}_latin", bed.management().1.replace('-', "_"));
    let make = format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    database.execute(AssertSqlSafe(make)).await.unwrap();
    let (server, _) =
        bed.database_url().rsplit_once('/').map(|(server, name)| (server.to_owned(), name.len())).unwrap();
    let url = format!("{server}/{name}");
    let setup = async |logs: &str| {
        let variables = [("CELERIAC__RESULTS__URL", url.clone()), ("CELERIAC__RESULTS__LOGS", logs.to_owned())];
        run(&["result", "a"], &bed.environment_with(&variables)).await
    };
    let (code, said) = setup("64KiB").await;
    assert!(code == 78 && said.contains("results.logs: needs a database with the encoding UTF8"), "{code} {said}");
    let (code, said) = setup("null").await;
    assert_eq!(code, 65, "{said}");
    PgConnection::connect(&url).await.unwrap().close().await.unwrap();
    database.execute(AssertSqlSafe(format!("DROP DATABASE \"{name}\""))).await.unwrap();
}
