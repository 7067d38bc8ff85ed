//! Options of tasks in the configuration, which override their declaration.

use std::path::Path;
use std::process::Stdio;

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac::{DynamicCall, PgConnection, TaskDefinition, TaskRecord};
use celeriac_client::call::CallOptions;
use celeriac_config::Environment;
use celeriac_protocol::{Body, TaskOptions};
use celeriac_tests::Bed;
use serde_json::{Value as Json, json};

/// Returns the limits that apply to it.
#[task(name = "t.tell", time_limit = "50s", expires = "5h", max_retries = 9)]
async fn tell(ctx: TaskContext) -> TaskResult<(Option<f64>, Option<f64>)> {
    let limits = ctx.time_limits();
    Ok((limits.hard.map(|limit| limit.as_secs_f64()), limits.soft.map(|limit| limit.as_secs_f64())))
}

/// Fails, and would not be retried.
#[task(name = "t.fail")]
async fn fail() -> TaskResult<()> {
    Err(TaskError::new("no"))
}

/// Has a thread of its own.
#[task(name = "t.thread", soft_time_limit = "1h")]
fn thread() -> TaskResult<()> {
    Ok(())
}

/// Has a transaction.
#[task(name = "t.book", transactional)]
async fn book(_tx: &mut PgConnection) -> TaskResult<()> {
    Ok(())
}

/// Returns the minutes from sending, by the id, to the expiry. The clock is read twice for them, so
/// they are rounded.
fn minutes_to_wait(row: &TaskRecord) -> f64 {
    (row.expires.unwrap().duration_since(row.sent_at.unwrap()).as_secs_f64() / 60.0).round()
}

fn folder(options: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("celeriac.yaml"), format!("task_options:\n{options}")).unwrap();
    folder
}

fn program(directory: &Path, tasks: impl IntoIterator<Item = TaskDefinition>) -> Builder {
    Celeriac::from_config(directory).environment(Environment::default()).tasks(tasks)
}

#[celeriac_tests::test]
async fn the_configuration_counts_before_the_task_and_the_call_before_both(bed: Bed) {
    let folder = folder(
        "  - { task: t.tell, time_limit: 20s, expires: 1h }\n\
         \x20 - { task: \"t.*\", time_limit: 30s, soft_time_limit: 10s, max_retries: 1, retry_backoff: 10ms, priority: 4 }\n",
    );
    let program = program(folder.path(), tasks![tell, fail]);
    let program = program.set("broker.url", bed.amqp_url()).set("results.url", bed.database_url());
    let running = bed.start(program).await;
    let client = &running.client;

    let told = tell().submit(client).await.unwrap();
    assert_eq!(told.get().await.unwrap(), (Some(20.0), Some(10.0)), "each key by the first line that says it");
    let row = told.wait().await.unwrap();
    assert_eq!(minutes_to_wait(&row), 60.0, "the sender heeds it, too");
    let called = tell().time_limit(seconds(5)).expires_in(hours(2)).submit(client).await.unwrap();
    assert_eq!(called.get().await.unwrap(), (Some(5.0), Some(10.0)));
    let row = called.wait().await.unwrap();
    assert_eq!(minutes_to_wait(&row), 120.0);
    let failed = fail().submit(client).await.unwrap().wait().await.unwrap();
    assert_eq!((failed.state, failed.attempts), (TaskState::Failure, 2));

    let by_name = |options| DynamicCall { task: "t.elsewhere".to_owned(), body: Body::default(), options };
    let priority = |options| {
        client.prepare(by_name(options), TaskOptions::default()).unwrap().outgoing.message.properties.priority
    };
    assert_eq!(priority(CallOptions::default()), Some(4), "a call by name is a call");
    let mut own = CallOptions::default();
    own.route.priority = Some(7);
    assert_eq!(priority(own), Some(7));
}

#[test]
fn what_cannot_be_kept_names_the_line_that_says_it() {
    let cases = [
        (
            "  - { task: \"t.*\", time_limit: 10m }\n",
            "celeriac.yaml: task_options[0].time_limit: task `t.thread`: time_limit cannot be kept",
        ),
        (
            "  - { task: t.tell, soft_time_limit: 1m }\n",
            "celeriac.yaml: task_options[0].soft_time_limit: task `t.tell`: soft_time_limit of 1m is never reached",
        ),
        (
            "  - { task: t.tell, rate_limit: 10/w }\n",
            "celeriac.yaml: task_options[0].rate_limit: should be a number a second",
        ),
        ("  - { task: t.tell, crash_limit: 1 }\n", "celeriac.yaml: task_options[0].crash_limit: should be at least 2"),
        (
            "  - { task: t.book, acks: early }\n",
            "celeriac.yaml: task_options[0].acks: task `t.book`: a transactional task cannot acknowledge its message early",
        ),
        ("  - { task: t.tell, time_limt: 1m }\n", "celeriac.yaml: task_options[0].time_limt"),
        ("  - { task: t.tell }\n", "celeriac.yaml: task_options[0]: entry for `t.tell` sets no options"),
    ];
    for (options, expected) in cases {
        let folder = folder(options);
        let problems = program(folder.path(), tasks![tell, thread, book]).build().unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }
    let folder = folder("  - { task: t.thread, time_limit: none }\n  - { task: \"t.*\", time_limit: 10m }\n");
    program(folder.path(), tasks![tell, thread]).build().unwrap();
}

#[test]
fn a_program_lists_the_options_in_force() {
    let folder = folder("  - { task: test.note, rate_limit: 100/m, time_limit: 90s, acks: early }\n");
    let list = |json: &[&str]| {
        let output = std::process::Command::new(celeriac_tests::program::path())
            .args(["--config", folder.path().to_str().unwrap(), "list", "tasks"])
            .args(json)
            .env_clear()
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = list(&[]);
    let line = text.lines().find(|line| line.starts_with("test.note")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words, ["test.note", "async", "acks=early", "time_limit=1m", "30s", "rate_limit=100/m"]);
    let tasks: Json = serde_json::from_str(&list(&["--json"])).unwrap();
    let note = tasks.as_array().unwrap().iter().find(|task| task["name"] == "test.note").unwrap();
    assert_eq!((&note["rate_limit"], &note["time_limit"]), (&json!("100/m"), &json!("1m 30s")));
}
