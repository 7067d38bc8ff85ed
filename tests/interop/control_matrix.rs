//! Every command of remote control, sent by Celery's command line and by ours to a Rust worker and
//! a Python worker at once: both answer alike where Celery's tools read them.

use std::collections::BTreeSet;

use celeriac_tests::{Bed, Program, PythonApp, PythonClient, PythonWorker, eventually};
use serde_json::{Value, json};

use crate::control::{NODE, celeriac, json_of, rust_worker};

/// A Rust worker and a Python worker, each with a task that runs and one that waits.
struct Fleet {
    app: PythonApp,
    python: PythonWorker,
    _rust: Program,
    client: PythonClient,
    /// Running and waiting task of the Rust worker, then of the Python worker.
    tasks: [String; 4],
}

impl Fleet {
    async fn new(bed: &Bed) -> Self {
        let app = PythonApp::new(bed).await;
        let python = app.worker(1).await;
        let variables =
            [("CELERIAC__WORKER__CONCURRENCY", "1".to_owned()), ("CELERIAC__WORKER__PREFETCH", "4".to_owned())];
        let rust = rust_worker(bed, &app, &variables).await;
        let mut client = app.client().await;
        let mut tasks = Vec::new();
        for task in ["rust.rest", "rust.rest", "interop.rest", "interop.rest"] {
            tasks.push(client.send(task, json!([600]), json!({})).await);
        }
        let fleet = Self { app, python, _rust: rust, client, tasks: tasks.try_into().unwrap() };
        eventually(
            "both run a task and hold one",
            async || {
                let (active, reserved) = (fleet.inspect(&["active"]).await, fleet.inspect(&["reserved"]).await);
                let is_one =
                    |replies: &Value, node: &str| replies[node].as_array().is_some_and(|tasks| tasks.len() == 1);
                [NODE, fleet.python.name()].into_iter().all(|node| is_one(&active, node) && is_one(&reserved, node))
            },
            |&is_so| is_so,
        )
        .await;
        fleet
    }

    fn both(&self) -> String {
        format!("{NODE},{}", self.python.name())
    }

    /// Returns the replies of both workers to Celery's command line, by node.
    async fn inspect(&self, command: &[&str]) -> Value {
        let both = self.both();
        let line: Vec<_> = ["inspect"].into_iter().chain(command.iter().copied()).collect();
        let line: Vec<_> = line.into_iter().chain(["--json", "-t", "10", "-d", &both]).collect();
        let (code, output) = self.app.celery(&line).await;
        assert_eq!(code, 0, "{command:?}: {output}");
        json_of(&output)
    }

    /// Returns the replies of both workers to `control` of Celery's command line: the one in Rust,
    /// and the one in Python.
    async fn control(&self, command: &[&str]) -> (Value, Value) {
        let both = self.both();
        let line: Vec<_> = ["control"].into_iter().chain(command.iter().copied()).collect();
        let line: Vec<_> = line.into_iter().chain(["--json", "-t", "10", "-d", &both]).collect();
        let (code, output) = self.app.celery(&line).await;
        assert_eq!(code, 0, "{command:?}: {output}");
        let replies = json_of(&output);
        let of = |node: &str| {
            let replies = replies.as_array().unwrap();
            replies
                .iter()
                .find_map(|reply| reply.get(node))
                .unwrap_or_else(|| panic!("{node}: {command:?}: {output}"))
                .clone()
        };
        (of(NODE), of(self.python.name()))
    }
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Both objects have the same keys, with values of the same type, at every level that both have.
fn alike(rust: &Value, python: &Value, place: &str) {
    assert_eq!(keys(rust), keys(python), "{place}");
    for (key, value) in rust.as_object().unwrap() {
        let (place, other) = (format!("{place}.{key}"), &python[key]);
        // The Python app sets the first, and the queues have types of their own.
        if ["no_declare", "queue_arguments"].contains(&key.as_str()) {
            continue;
        }
        assert_eq!(kind(value), kind(other), "{place}: {value} {other}");
        if value.is_object() && key != "kwargs" {
            alike(value, other, &place);
        }
    }
}

#[celeriac_tests::test(real)]
async fn both_workers_answer_alike_to_every_inspect_command(bed: Bed) {
    let fleet = Fleet::new(&bed).await;
    let python = fleet.python.name();
    let [rust_active, rust_reserved, python_active, _] = &fleet.tasks;

    let replies = fleet.inspect(&["active"]).await;
    alike(&replies[NODE][0], &replies[python][0], "active");
    let task = &replies[NODE][0];
    assert_eq!((task["id"].as_str(), task["name"].as_str()), (Some(rust_active.as_str()), Some("rust.rest")));
    assert_eq!((&task["args"], &task["kwargs"], &task["hostname"]), (&json!([600]), &json!({}), &json!(NODE)));
    let replies = fleet.inspect(&["reserved"]).await;
    alike(&replies[NODE][0], &replies[python][0], "reserved");
    assert_eq!(replies[NODE][0]["id"], rust_reserved.as_str());
    assert_eq!(replies[NODE][0]["time_start"], json!(null));
    let replies = fleet.inspect(&["scheduled"]).await;
    assert_eq!(replies, json!({NODE: [], python: []}));

    let replies = fleet.inspect(&["query_task", rust_active, rust_reserved, python_active, "unknown"]).await;
    let found = &replies[NODE];
    assert_eq!((&found[rust_active][0], &found[rust_reserved][0]), (&json!("active"), &json!("reserved")));
    assert_eq!(found.as_object().unwrap().len(), 2);
    alike(&found[rust_active][1], &replies[python][python_active][1], "query_task");

    let replies = fleet.inspect(&["registered"]).await;
    let tasks =
        |node: &str| replies[node].as_array().unwrap().iter().map(|task| task.as_str().unwrap()).collect::<Vec<_>>();
    assert!(tasks(NODE).contains(&"rust.add") && tasks(python).contains(&"interop.add"), "{replies}");
    assert!(tasks(NODE).is_sorted() && !tasks(NODE).contains(&"celery.ping"), "{replies}");

    let replies = fleet.inspect(&["active_queues"]).await;
    alike(&replies[NODE][0], &replies[python][0], "active_queues");
    assert_eq!(replies[NODE][0]["name"], fleet.app.rust_queue());

    let replies = fleet.inspect(&["stats"]).await;
    let (rust, other) = (&replies[NODE], &replies[python]);
    assert_eq!(keys(rust), keys(other));
    for key in ["total", "pid", "clock", "uptime", "broker", "prefetch_count", "rusage"] {
        assert_eq!(kind(&rust[key]), kind(&other[key]), "{key}");
    }
    assert_eq!(rust["total"], json!({"rust.rest": 1}));
    for key in ["hostname", "userid", "virtual_host", "port", "ssl", "transport"] {
        assert_eq!(rust["broker"][key], other["broker"][key], "{key}");
    }
    for key in ["max-concurrency", "processes", "max-tasks-per-child", "put-guarded-by-semaphore", "timeouts"] {
        assert_eq!(kind(&rust["pool"][key]), kind(&other["pool"][key]), "{key}");
    }
    assert_eq!(rust["pool"]["max-concurrency"], 1);

    let replies = fleet.inspect(&["conf"]).await;
    for key in ["broker_url", "include", "deprecated_settings"] {
        assert!(keys(&replies[NODE]).contains(key) && keys(&replies[python]).contains(key), "{key}: {replies}");
    }
    assert_eq!(replies[NODE]["worker.concurrency"], 1);
    assert!(!replies[NODE].to_string().contains("guest:guest"), "{replies}");

    let replies = fleet.inspect(&["report"]).await;
    for node in [NODE, python] {
        let report = replies[node]["ok"].as_str().unwrap();
        assert!(report.starts_with("\nsoftware -> celery:5."), "{report}");
    }
    let replies = fleet.inspect(&["clock"]).await;
    alike(&replies[NODE], &replies[python], "clock");
    let clock = |node: &str| replies[node]["clock"].as_u64().unwrap();
    assert!(clock(NODE) > 0 && clock(NODE).abs_diff(clock(python)) < 100, "{replies}");
    let replies = fleet.inspect(&["memsample"]).await;
    assert!(replies[NODE].as_str().unwrap().ends_with("MB"), "{replies}");
    let replies = fleet.inspect(&["revoked"]).await;
    assert_eq!(replies, json!({NODE: [], python: []}));
    let replies = fleet.inspect(&["objgraph"]).await;
    for node in [NODE, python] {
        assert!(replies[node]["error"].is_string(), "{replies}");
    }
    fleet.client.stop().await;
    fleet.python.kill().await;
}

#[celeriac_tests::test(real)]
async fn both_workers_answer_alike_to_every_control_command(bed: Bed) {
    let mut fleet = Fleet::new(&bed).await;
    let same = |(rust, python): (Value, Value)| assert_eq!(rust, python);
    // Neither has the other's tasks, so both name one of both.
    same(fleet.control(&["rate_limit", "shared.double", "10/m"]).await);
    same(fleet.control(&["rate_limit", "shared.double", "0"]).await);
    same(fleet.control(&["rate_limit", "nobody.knows", "10/m"]).await);
    let (rust, python) = fleet.control(&["rate_limit", "shared.double", "often"]).await;
    for reply in [rust, python] {
        assert!(reply["error"].as_str().unwrap().starts_with("Invalid rate limit string: "), "{reply}");
    }
    same(fleet.control(&["time_limit", "shared.double", "10", "20"]).await);
    same(fleet.control(&["time_limit", "nobody.knows", "10", "20"]).await);
    same(fleet.control(&["pool_grow", "2"]).await);
    // A Python worker cannot remove processes that are busy.
    assert_eq!(fleet.control(&["pool_shrink", "2"]).await.0, json!({"ok": "pool will shrink"}));
    same(fleet.control(&["pool_restart"]).await);
    same(fleet.control(&["autoscale", "5", "1"]).await);
    same(fleet.control(&["add_consumer", "control-extra"]).await);
    same(fleet.control(&["add_consumer", "control-extra"]).await);
    same(fleet.control(&["cancel_consumer", "control-extra"]).await);
    same(fleet.control(&["heartbeat"]).await);
    // The Python worker of this test has no dispatcher of events.
    for (command, answer) in [
        ("enable_events", "task events enabled"),
        ("enable_events", "task events already enabled"),
        ("disable_events", "task events disabled"),
        ("disable_events", "task events already disabled"),
    ] {
        assert_eq!(fleet.control(&[command]).await.0, json!({"ok": answer}), "{command}");
    }
    same(fleet.control(&["revoke", "one-id"]).await);
    same(fleet.control(&["revoke_by_stamped_headers", "tenant=7"]).await);
    same(fleet.control(&["terminate", "SIGTERM", "nobodys-id"]).await);

    // What a tool in Python says to running tasks. Both run, since slots were added.
    let [first, second, ..] = fleet.tasks.clone();
    for id in [&first, &second] {
        let terminate = json!({"command": "control", "method": "revoke", "destination": [NODE],
            "arguments": {"task_id": [id], "terminate": true, "signal": "SIGKILL"}});
        let replies = fleet.client.get(terminate).await["replies"].clone();
        assert_eq!(replies, json!([{NODE: {"ok": format!("terminate: {id}")}}]));
    }
    for id in [first, second] {
        assert_eq!(fleet.client.result(&id).await["state"], "REVOKED");
    }
    let wrong = json!({"command": "control", "method": "terminate", "destination": [NODE], "arguments": {}});
    let replies = fleet.client.get(wrong).await["replies"].clone();
    let reason = replies[0][NODE]["error"].as_str().unwrap();
    assert!(reason.starts_with("TypeError(") && reason.contains("missing 1 required positional argument"), "{reason}");
    fleet.client.stop().await;
    fleet.python.kill().await;
}

#[celeriac_tests::test(real)]
async fn our_command_line_asks_and_steers_both(bed: Bed) {
    let fleet = Fleet::new(&bed).await;
    let both = fleet.both();
    let python = fleet.python.name();
    for command in [
        "active",
        "active_queues",
        "clock",
        "conf",
        "memsample",
        "ping",
        "registered",
        "report",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
    ] {
        let (code, output) = celeriac(&bed, &["inspect", command, "--json", "-t", "10s", "-d", &both]).await;
        assert_eq!(code, 0, "{command}: {output}");
        assert_eq!(keys(&json_of(&output)), BTreeSet::from([NODE, python]), "{command}");
    }
    let (code, output) = celeriac(&bed, &["inspect", "objgraph", "-t", "10s", "-d", &both]).await;
    assert!(code == 6 && output.contains("NotImplementedError"), "{code}: {output}");
    for line in [
        ["rate_limit", "shared.double", "10/m"].as_slice(),
        &["time_limit", "shared.double", "10", "20"],
        &["pool_grow", "1"],
        &["add_consumer", "ours-extra"],
        &["cancel_consumer", "ours-extra"],
        &["revoke", "one-id", "another-id"],
        &["terminate", "TERM", "one-id"],
        &["revoke_by_stamped_headers", "tenant=7"],
    ] {
        let line: Vec<_> = [&["control"], line, &["--json", "-t", "10s", "-d", &both]].concat();
        let (code, output) = celeriac(&bed, &line).await;
        assert_eq!(code, 0, "{line:?}: {output}");
        let replies = json_of(&output);
        // A set of Python has no order.
        if line[1] != "revoke" {
            assert_eq!(replies[NODE], replies[python], "{line:?}");
        }
        assert!(replies[NODE]["ok"].is_string(), "{line:?}: {replies}");
    }
    let (code, output) = celeriac(&bed, &["control", "rate_limit", "nobody.knows", "1/s", "-d", &both]).await;
    assert!(code == 6 && output.contains("unknown task"), "{code}: {output}");
    let (code, output) = celeriac(&bed, &["control", "rate_limit"]).await;
    assert!(code == 65 && output.contains("its arguments are: rate_limit TASK_NAME RATE_LIMIT"), "{code}: {output}");
    fleet.python.kill().await;
}

#[celeriac_tests::test(real)]
async fn workers_that_start_take_over_revocations_and_clocks_of_the_others(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let python = app.worker(1).await;
    let mut client = app.client().await;
    let revoke = json!({"command": "control", "method": "revoke", "destination": [python.name()],
        "arguments": {"task_id": "revoked-before"}});
    client.get(revoke).await;
    let _rust = rust_worker(&bed, &app, &[]).await;
    eventually(
        "the Rust worker knows what the Python worker knew",
        async || {
            let (_, output) = celeriac(&bed, &["inspect", "revoked", "--json", "-d", NODE]).await;
            serde_json::from_str::<Value>(&output).is_ok_and(|replies| replies[NODE] == json!(["revoked-before"]))
        },
        |&is_so| is_so,
    )
    .await;
    let hello = json!({"command": "control", "method": "hello", "destination": [NODE],
        "arguments": {"from_node": "other@host", "revoked": ["told-by-hello"]}});
    let replies = client.get(hello).await["replies"].clone();
    assert_eq!(replies[0][NODE]["revoked"], json!(["revoked-before"]));
    assert!(replies[0][NODE]["clock"].as_u64().unwrap() > 0, "{replies}");
    let (_, output) = celeriac(&bed, &["inspect", "revoked", "--json", "-d", NODE]).await;
    assert!(output.contains("told-by-hello"), "{output}");
    client.stop().await;
    python.kill().await;
}
