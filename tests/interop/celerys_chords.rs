//! Chords that a Python client sends to Rust workers: with a backend that counts nothing, and over
//! `rpc://`.

use std::time::Duration;

use celeriac_tests::{Bed, PythonApp};
use serde_json::{Value as Json, json};

#[celeriac_tests::test(real)]
async fn the_body_of_a_chord_that_python_sends_runs_when_all_members_have_ended(bed: Bed) {
    let results = tempfile::tempdir().unwrap();
    let app = PythonApp::new(&bed).await.set("INTEROP_RESULT_BACKEND", format!("file://{}", results.path().display()));
    let variables = [
        ("CELERIAC__DEFAULT_QUEUE", "interop-rust".to_owned()),
        ("CELERIAC__QUEUES", "{interop-rust: {}}".to_owned()),
        ("CELERIAC__WORKER__BUILTIN_TASKS", "[celery.chord_unlock]".to_owned()),
        ("JOURNAL", app.journal_path()),
    ];
    let mut rust = bed.process_with(&["worker", "-l", "info"], &variables);
    rust.says("worker ready").await;
    let mut client = app.client().await;
    let store = bed.client(bed.program([])).await;

    let task = |name: &str, id: &str, args: Json| json!({"task": format!("rust.{name}"), "args": args, "options": {"task_id": id}});
    let told = json!([{"task": "rust.on_error", "args": ["told"]}]);
    let body = |id: &str| {
        let mut body = task("collect", id, json!([]));
        body["options"]["link_error"] = told.clone();
        body
    };
    let chain = json!({"chain": [task("add", "1", json!([1, 2])), task("add", "2", json!([10]))]});
    let flaky = task("flaky", "3", json!([1]));
    // Its countdown is longer than the first wait of the task that looks at the members.
    let mut later = task("add", "4", json!([1, 1]));
    later["options"]["countdown"] = json!(2);
    let chord = json!({"chord": [chain, flaky, later], "body": body("good")});
    client.get(json!({"command": "send", "canvas": chord})).await;
    let failing = [task("add", "5", json!([1, 1])), task("fail", "6", json!(["ValueError", "no"]))];
    client.get(json!({"command": "send", "canvas": {"chord": failing, "body": body("bad")}})).await;

    // Celery refuses this chord over `rpc://`, except as a callback.
    let mut replied = PythonApp::new(&bed).await.client().await;
    let linked =
        json!({"chord": [task("add", "7", json!([20])), task("add", "8", json!([30]))], "body": body("linked")});
    let refused = replied.ask(json!({"command": "send", "canvas": linked})).await;
    assert_eq!(refused["error_type"], "builtins.NotImplementedError", "{refused}");
    replied.send("rust.add", json!([1, 2]), json!({"link": linked})).await;

    let patience = Duration::from_secs(50);
    let linked = store.handle::<Json>("linked").wait_timeout(patience).await.unwrap();
    assert_eq!(linked.result.as_deref(), Some("[[23, 33]]"));
    let good = store.handle::<Json>("good").wait_timeout(patience).await.unwrap();
    assert_eq!(good.result.as_deref(), Some("[[13, 2, 2]]"));
    let bad = store.handle::<Json>("bad").wait_timeout(patience).await.unwrap().failure.unwrap();
    assert_eq!((bad.kind.as_str(), bad.message.as_str()), ("ChordError", "Dependency 6 raised ValueError('no')"));

    client.stop().await;
    replied.stop().await;
    rust.signal("TERM");
    assert_eq!(rust.exit_code(patience).await, 0, "{}", rust.output());
    let mut notes: Vec<_> = app.journal().iter().map(|line| json!([line[0], line[2]])).collect();
    notes.sort_by_key(Json::to_string);
    let expected = [json!(["collect", [13, 2, 2]]), json!(["collect", [23, 33]]), json!(["on_error", "bad"])];
    assert_eq!(notes, expected, "each once");
}
