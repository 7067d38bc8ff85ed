//! Remote control: Celery's tools with Rust workers, and ours with Python workers.

use std::time::Duration;

use celeriac_tests::{Bed, Program, PythonApp, eventually};
use serde_json::{Value, json};

pub(crate) const NODE: &str = "rust@localhost";

/// Starts a Rust worker of the tasks `rust.*`.
pub(crate) async fn rust_worker(bed: &Bed, app: &PythonApp, variables: &[(&str, String)]) -> Program {
    let queue = app.rust_queue();
    let own = [
        ("CELERIAC__DEFAULT_QUEUE", queue.to_owned()),
        ("CELERIAC__QUEUES", format!("{{{queue}: {{}}}}")),
        ("JOURNAL", app.journal_path()),
    ];
    let variables: Vec<_> = own.into_iter().chain(variables.iter().cloned()).collect();
    let mut rust = bed.process_with(&["worker", "-n", NODE, "-l", "info"], &variables);
    rust.says("worker ready").await;
    rust
}

/// Runs our command line. Returns its exit code and its output.
pub(crate) async fn celeriac(bed: &Bed, arguments: &[&str]) -> (i32, String) {
    let mut program = bed.process(arguments);
    let code = program.exit_code(Duration::from_secs(60)).await;
    (code, program.rest().await)
}

pub(crate) fn json_of(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[celeriac_tests::test(real)]
async fn celerys_tools_find_a_rust_worker(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let _rust = rust_worker(&bed, &app, &[]).await;

    let (code, output) = app.celery(&["inspect", "ping", "--json", "-t", "5", "-d", NODE]).await;
    assert_eq!((code, json_of(&output)), (0, json!({NODE: {"ok": "pong"}})));
    let (code, output) = app.celery(&["status", "-t", "5", "-d", NODE]).await;
    assert!(code == 0 && output.contains(NODE) && output.contains("1 node online"), "{output}");

    let mut client = app.client().await;
    let ping = |addressed: Value| {
        let mut command = json!({"command": "control", "method": "ping", "limit": 1, "timeout": 5});
        command.as_object_mut().unwrap().extend(addressed.as_object().unwrap().clone());
        command
    };
    let pong = json!([{NODE: {"ok": "pong"}}]);
    for addressed in [
        json!({}),
        json!({"destination": [NODE]}),
        json!({"pattern": "rust@*", "matcher": "glob"}),
        json!({"pattern": "r[a-z]+@", "matcher": "pcre"}),
    ] {
        assert_eq!(client.get(ping(addressed.clone())).await["replies"], pong, "{addressed}");
    }
    let nobody = client.get(json!({"command": "control", "method": "ping", "destination": ["w"], "timeout": 1})).await;
    assert_eq!(nobody["replies"], json!([]));
    let unknown = client.get(json!({"command": "control", "method": "nope", "limit": 1})).await;
    assert_eq!(unknown["replies"], json!([{NODE: {"error": "KeyError('nope')"}}]));
    client.stop().await;
}

#[celeriac_tests::test(real)]
async fn our_tools_find_workers_of_both_kinds(bed: Bed) {
    let (code, output) = celeriac(&bed, &["status"]).await;
    assert!(code == 5 && output.contains("no worker replied within 1s"), "{code}: {output}");

    let app = PythonApp::new(&bed).await;
    let python = app.worker(1).await;
    let mut rust = rust_worker(&bed, &app, &[]).await;
    let both = json!({NODE: {"ok": "pong"}, python.name(): {"ok": "pong"}});
    let (code, output) = celeriac(&bed, &["inspect", "ping", "--json", "-t", "3s"]).await;
    assert_eq!((code, json_of(&output)), (0, both));
    let (code, output) = celeriac(&bed, &["status", "-t", "3s"]).await;
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("rust@localhost: OK") && output.contains("2 workers online"), "{output}");

    let (code, output) = celeriac(&bed, &["control", "shutdown", "-d", NODE]).await;
    assert_eq!(code, 0, "{output}");
    assert_eq!(rust.exit_code(Duration::from_secs(30)).await, 0, "{}", rust.output());
    let (code, output) = celeriac(&bed, &["status", "-t", "3s", "-d", python.name()]).await;
    assert!(code == 0 && output.contains("1 worker online"), "{output}");
    python.kill().await;
}

#[celeriac_tests::test(real)]
async fn a_second_worker_of_the_same_name_is_told_and_works(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let first = rust_worker(&bed, &app, &[]).await;
    let mut second = rust_worker(&bed, &app, &[]).await;
    second.says("worker name in use").await;
    first.kill().await;
    // The second one takes over.
    let ping = async || celeriac(&bed, &["inspect", "ping", "-d", NODE]).await;
    eventually("the second one to answer", ping, |(code, _)| *code == 0).await;
}

#[celeriac_tests::test(real)]
async fn only_allowed_commands_are_obeyed(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let access = [("CELERIAC__WORKER__CONTROL", "inspect-only".to_owned())];
    let mut rust = rust_worker(&bed, &app, &access).await;
    let (code, output) = celeriac(&bed, &["inspect", "clock", "-d", NODE]).await;
    assert_eq!(code, 0, "{output}");
    let mut client = app.client().await;
    let refused = client.get(json!({"command": "control", "method": "shutdown", "limit": 1})).await;
    let reason = "PermissionError('worker.control does not allow `shutdown`')";
    assert_eq!(refused["replies"], json!([{NODE: {"error": reason}}]));
    client.stop().await;
    assert!(rust.is_running());
}
