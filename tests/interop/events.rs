//! Events of a Rust worker, as Celery's monitors see them.

use std::collections::BTreeMap;

use celeriac::events::FleetState;
use celeriac::prelude::*;
use celeriac_tests::{Bed, PythonApp, PythonClient, Running, eventually};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::{Value as Json, json};

#[task(name = "rust.sum")]
async fn sum(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "rust.refuse")]
async fn refuse() -> TaskResult<()> {
    Err(TaskError::of_kind("ValueError", "it's too late"))
}

#[task(name = "rust.twice", max_retries = 3)]
async fn twice(ctx: TaskContext) -> TaskResult<u32> {
    if ctx.attempt() == 1 {
        return Err(TaskError::retry_in(seconds(0), "not yet"));
    }
    Ok(ctx.attempt())
}

#[task(name = "rust.reject")]
async fn reject() -> TaskResult<()> {
    Err(TaskError::reject("not today"))
}

/// Starts a worker that tells monitors of tasks, and waits until its queue exists.
async fn worker(bed: &Bed, events: &str) -> Running {
    let program = bed.program(tasks![sum, refuse, twice, reject]).set("queues", "{interop-rust: {type: classic}}");
    let program = program.set("default_queue", "interop-rust").set("worker.name", "rust@box");
    let program = program.set("worker.events", events).set("worker.heartbeat_interval", "100ms");
    let running = bed.start(program).await;
    let peer = bed.peer().await;
    let consumers = async || peer.consumers("interop-rust").await;
    eventually("it consumes", consumers, |consumers| *consumers == Some(1)).await;
    running
}

/// Waits for an event of this type about this task, or of a worker, and returns it.
async fn event(monitor: &mut PythonClient, kind: &str, uuid: Option<&str>) -> Json {
    let is_it = |event: &Json| event["type"] == kind && uuid.is_none_or(|uuid| event["uuid"] == uuid);
    let ask = async || {
        let told = monitor.get(json!({"command": "events"})).await;
        told["events"].as_array().unwrap().clone()
    };
    let events = eventually(kind, ask, |events| events.iter().any(is_it)).await;
    events.into_iter().find(is_it).unwrap()
}

/// Returns the types of the events about a task, in their order.
async fn life(monitor: &mut PythonClient, uuid: &str) -> Vec<String> {
    let told = monitor.get(json!({"command": "events"})).await;
    let events = told["events"].as_array().unwrap().iter().filter(|event| event["uuid"] == uuid);
    events.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

fn keys(event: &Json) -> Vec<&str> {
    let mut keys: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The fields of an event that its sender and Celery's receiver add.
const COMMON: [&str; 7] = ["clock", "hostname", "local_received", "pid", "timestamp", "type", "utcoffset"];

fn all(own: &[&'static str]) -> Vec<&'static str> {
    let mut keys: Vec<_> = COMMON.iter().chain(own).copied().collect();
    keys.sort_unstable();
    keys
}

#[celeriac_tests::test(real)]
async fn celerys_monitor_sees_a_rust_worker_and_its_tasks(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let mut monitor = app.monitor().await;
    let running = worker(&bed, "all").await;
    let mut client = app.client().await;

    let online = event(&mut monitor, "worker-online", None).await;
    let of_worker = ["active", "freq", "loadavg", "processed", "sw_ident", "sw_sys", "sw_ver"];
    assert_eq!(keys(&online), all(&of_worker));
    assert_eq!((&online["hostname"], &online["freq"]), (&json!("rust@box"), &json!(0.1)));
    assert_eq!(online["sw_ident"], "celeriac");
    assert_eq!(online["loadavg"].as_array().unwrap().len(), 3);
    assert_eq!(online["pid"], std::process::id());

    let done = client.send("rust.sum", json!([1, 2]), json!({})).await;
    assert_eq!(client.result(&done).await["result"], 3);
    let succeeded = event(&mut monitor, "task-succeeded", Some(&done)).await;
    assert_eq!(keys(&succeeded), all(&["result", "runtime", "uuid"]));
    assert_eq!(succeeded["result"], "3");
    let received = event(&mut monitor, "task-received", Some(&done)).await;
    let of_arrival = ["args", "eta", "expires", "kwargs", "name", "parent_id", "retries", "root_id", "uuid"];
    assert_eq!(keys(&received), all(&of_arrival));
    assert_eq!((&received["name"], &received["args"]), (&json!("rust.sum"), &json!("[1, 2]")));
    assert_eq!((&received["kwargs"], &received["root_id"]), (&json!("{}"), &json!(done)));
    let started = event(&mut monitor, "task-started", Some(&done)).await;
    assert_eq!(keys(&started), all(&["uuid"]));
    assert_eq!(life(&mut monitor, &done).await, ["task-received", "task-started", "task-succeeded"]);
    let clocks = [&received, &started, &succeeded].map(|event| event["clock"].as_u64().unwrap());
    assert!(clocks.is_sorted() && clocks[0] < clocks[2], "{clocks:?}");

    let failed = client.send("rust.refuse", json!([]), json!({})).await;
    let told = event(&mut monitor, "task-failed", Some(&failed)).await;
    assert_eq!(told["exception"], "ValueError(\"it's too late\")");

    let retried = client.send("rust.twice", json!([]), json!({})).await;
    event(&mut monitor, "task-succeeded", Some(&retried)).await;
    let attempt = ["task-received", "task-started"];
    let expected = [&attempt[..], &["task-retried"], &attempt[..], &["task-succeeded"]].concat();
    assert_eq!(life(&mut monitor, &retried).await, expected);

    let rejected = client.send("rust.reject", json!([]), json!({})).await;
    assert_eq!(event(&mut monitor, "task-rejected", Some(&rejected)).await["requeue"], false);

    let expired =
        client.send("rust.sum", json!([1, 2]), json!({"expires": {"$datetime": "2020-01-01T00:00:00+00:00"}})).await;
    let told = event(&mut monitor, "task-revoked", Some(&expired)).await;
    assert_eq!((&told["expired"], &told["terminated"]), (&json!(true), &json!(false)));

    let beat = event(&mut monitor, "worker-heartbeat", None).await;
    assert_eq!(keys(&beat), all(&of_worker));
    let state = monitor.get(json!({"command": "state"})).await;
    assert_eq!(state["workers"]["rust@box"]["alive"], true);
    let states = [&done, &failed, &retried, &expired].map(|id| state["tasks"][id]["state"].clone());
    assert_eq!(states, ["SUCCESS", "FAILURE", "SUCCESS", "REVOKED"]);
    assert_eq!(state["tasks"][&done]["worker"], "rust@box");

    running.stop().await;
    event(&mut monitor, "worker-offline", None).await;
    client.stop().await;
    monitor.stop().await;
}

#[celeriac_tests::test(real)]
async fn a_worker_without_events_of_tasks_sends_its_own(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let mut monitor = app.monitor().await;
    let running = worker(&bed, "worker").await;
    let mut client = app.client().await;

    let done = client.send("rust.sum", json!([1, 2]), json!({})).await;
    assert_eq!(client.result(&done).await["result"], 3);
    running.stop().await;
    event(&mut monitor, "worker-offline", None).await;
    assert_eq!(life(&mut monitor, &done).await, [""; 0]);

    client.stop().await;
    monitor.stop().await;
}

/// Number of tasks of each kind on each side.
const EACH: usize = 1_200;

/// Number of tasks of each side that are revoked before they start.
const REVOKED: usize = 200;

/// Sends tasks of one side that succeed, fail, retry and are revoked. Returns the ids.
async fn send_all(client: &mut PythonClient, prefix: &str, revoked: &[String]) -> Vec<String> {
    for id in revoked {
        client.send(&format!("{prefix}.sum"), json!([1, 2]), json!({"task_id": id})).await;
    }
    let mut ids = revoked.to_vec();
    for (task, args, options) in [
        ("sum", json!([1, 2]), json!({})),
        ("sum", json!([3, 4]), json!({})),
        ("refuse", json!([]), json!({})),
        ("twice", json!([]), json!({})),
    ] {
        let task = format!("{prefix}.{task}");
        let command = json!({"command": "send", "task": task, "args": args, "options": options, "count": EACH});
        let sent = client.get(command).await;
        ids.extend(sent["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    ids
}

/// Returns the states of tasks, and how many tasks have each.
fn counted<'a>(states: impl Iterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for state in states {
        *counts.entry(state.to_owned()).or_default() += 1;
    }
    counts
}

#[celeriac_tests::test(real, threads = 2)]
async fn celerys_state_and_ours_are_equal_after_ten_thousand_tasks_on_both_kinds_of_workers(bed: Bed) {
    let app = PythonApp::new(&bed).await.set("INTEROP_SETTINGS", r#"{"worker_send_task_events": true}"#);
    let mut monitor = app.monitor().await;
    let running = worker(&bed, "all").await;
    let python = app.worker(2).await;
    let mut stream = running.client.events().await.unwrap();
    let mut client = app.client().await;

    let new_ids = || (0..REVOKED).map(|_| uuid::Uuid::now_v7().to_string()).collect::<Vec<_>>();
    let (of_rust, of_python) = (new_ids(), new_ids());
    running.client.revoke(&of_rust).await.unwrap();
    client.get(json!({"command": "revoke", "ids": of_python})).await;
    let mut fleet = FleetState::new(100_000);
    let sending = async {
        let mut ids = send_all(&mut client, "rust", &of_rust).await;
        ids.extend(send_all(&mut client, "interop", &of_python).await);
        ids
    };
    // Events that nobody receives within five seconds are lost.
    let receiving = async {
        let mut ended = 0;
        while ended < 2 * (4 * EACH + REVOKED) {
            let event = stream.next().await.unwrap();
            ended += usize::from(["task-succeeded", "task-failed", "task-revoked"].contains(&event.kind.as_str()));
            fleet.apply(&event);
        }
    };
    let both = async { tokio::join!(sending, receiving) };
    let (ids, ()) = tokio::time::timeout(seconds(300), both).await.unwrap();
    let mut ask = async || monitor.get(json!({"command": "state"})).await;
    let is_ready = |state: &Json| {
        let tasks = state["tasks"].as_object().unwrap();
        tasks.len() == ids.len()
            && tasks.values().all(|task| ["SUCCESS", "FAILURE", "REVOKED"].iter().any(|end| task["state"] == *end))
    };
    let celerys = tokio::time::timeout(seconds(60), async {
        loop {
            let state = ask().await;
            if is_ready(&state) {
                return state;
            }
        }
    });
    let celerys = celerys.await.unwrap();

    let counts = counted(fleet.tasks().map(|task| task.state.as_str()));
    println!("tasks of both sides by state: {counts:?}; events: {}", fleet.event_count());
    let expected = [("FAILURE", 2 * EACH), ("REVOKED", 2 * REVOKED), ("SUCCESS", 6 * EACH)];
    assert_eq!(counts, expected.map(|(state, count)| (state.to_owned(), count)).into());
    for id in &ids {
        let ours = serde_json::to_value(fleet.task(id).unwrap()).unwrap();
        let theirs = celerys["tasks"][id].as_object().unwrap();
        for (field, value) in theirs {
            assert_eq!(&ours[field], value, "{field} of {id}");
        }
    }
    for (hostname, worker) in celerys["workers"].as_object().unwrap() {
        let ours = &fleet.workers()[hostname];
        assert_eq!((json!(ours.pid), json!(ours.sw_ident)), (worker["pid"].clone(), worker["sw_ident"].clone()));
    }
    stream.close().await;
    client.stop().await;
    monitor.stop().await;
    running.stop().await;
    python.kill().await;
}

#[celeriac_tests::test(real)]
async fn a_stream_of_events_survives_garbage_and_tells_of_sent_tasks(bed: Bed) {
    let running = worker(&bed, "all").await;
    let program = bed.program([]).set("client.task_sent_events", "true").set("client.headers", "full");
    let program = program.set("queues", "{interop-rust: {type: classic}}").set("default_queue", "interop-rust");
    let client = bed.client(program).await;
    let mut stream = client.events().await.unwrap();
    let peer = bed.peer().await;
    for garbage in ["", "[[[[", "{}", "[1, null]", "{\"type\": 7}", "\u{0}\u{1}"] {
        let properties = BasicProperties::default().with_content_type("application/json".into());
        let (exchange, options) = ("celeryev".into(), BasicPublishOptions::default());
        peer.channel()
            .basic_publish(exchange, "task.multi".into(), options, garbage.as_bytes(), properties)
            .await
            .unwrap();
    }

    let handle = sum(1, 2).submit(&client).await.unwrap();
    let mut kinds = Vec::new();
    let seen = async {
        while kinds.len() < 4 {
            let event = stream.next().await.unwrap();
            if event.uuid() == Some(handle.id()) {
                kinds.push((event.kind.clone(), event.text("args").map(str::to_owned)));
            }
        }
    };
    tokio::time::timeout(seconds(60), seen).await.unwrap();
    kinds.sort();
    let args = Some("(1, 2)".to_owned());
    let expected =
        [("task-received", args.clone()), ("task-sent", args), ("task-started", None), ("task-succeeded", None)];
    assert_eq!(kinds, expected.map(|(kind, args)| (kind.to_owned(), args)));
    assert_eq!(stream.unreadable(), 6);
    stream.close().await;
    running.stop().await;
}
