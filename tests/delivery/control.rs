//! Remote control from a program: what a worker answers, and what it does.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Builder, Client, value};
use celeriac_protocol::Value;
use celeriac_tests::wait::PATIENCE;
use celeriac_tests::{Bed, Running, assert_outcome, eventually};
use tokio::time::timeout;

#[task(name = "t.add", rate_limit = "100/s")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

/// Runs until it is told to end.
#[task(name = "t.hang", redact = ["secret"])]
async fn hang(ctx: TaskContext, secret: String) -> TaskResult<usize> {
    ctx.cancelled().await;
    Ok(secret.len())
}

async fn running(bed: &Bed) -> Running {
    let program = bed.program(tasks![add, hang]).set("worker.concurrency", "2").set("worker.prefetch", "4");
    start(bed, program.set("queues", "{extra: {}}").set("worker.queues", "[celeriac]")).await
}

/// Starts a worker, and waits until it answers.
async fn start(bed: &Bed, program: Builder) -> Running {
    let worker = bed.start(program.set("worker.name", "w1@here")).await;
    let remote = worker.client.control().limit(1).timeout(Duration::from_millis(500));
    let ping = async || remote.ask("ping", ()).await.unwrap();
    eventually("the worker to answer", ping, |replies| replies.len() == 1).await;
    worker
}

/// Returns the answer of the one worker.
async fn ask(client: &Client, command: &str, arguments: impl Into<Value>) -> Value {
    let remote = client.control().to(["w1@here"]).timeout(Duration::from_secs(10));
    let replies = remote.ask(command, arguments).await.unwrap();
    assert_eq!(replies.len(), 1, "{command}");
    replies[0].value.clone()
}

#[celeriac_tests::test]
async fn workers_are_found_by_name_and_pattern(bed: Bed) {
    let worker = running(&bed).await;
    let client = &worker.client;
    assert_eq!(ask(client, "ping", ()).await, value!({"ok": "pong"}));
    let short = Duration::from_millis(500);
    let asked = async |remote: celeriac::RemoteControl| remote.ask("ping", ()).await.unwrap().len();
    let remote = || client.control().limit(1).timeout(Duration::from_secs(10));
    assert_eq!(asked(remote()).await, 1);
    assert_eq!(asked(remote().matching("w[0-9]@*")).await, 1);
    assert_eq!(asked(remote().matching_regex("w.@here$")).await, 1);
    assert_eq!(asked(remote().to(["w2@here"]).timeout(short)).await, 0);
    assert_eq!(asked(remote().matching("x*").timeout(short)).await, 0);
    let wrong = client.control().ask("ping", value!([1])).await.unwrap_err().to_string();
    assert!(wrong.contains("should be an object of named arguments, got a list"), "{wrong}");
}

#[celeriac_tests::test]
async fn running_and_waiting_tasks_are_shown_without_what_they_redact(bed: Bed) {
    let worker = running(&bed).await;
    let client = &worker.client;
    let handles = client.submit_many((0..3).map(|_| hang("hunter2".to_owned()))).await;
    let handles: Vec<_> = handles.into_iter().map(Result::unwrap).collect();
    let active = async || ask(client, "active", ()).await;
    let active = eventually("two to run", active, |active| active.as_list().is_some_and(|list| list.len() == 2)).await;
    let reserved = async || ask(client, "reserved", ()).await;
    let reserved = eventually("one to wait", reserved, |list| list.as_list().is_some_and(|list| list.len() == 1)).await;
    for task in active.as_list().unwrap().iter().chain(reserved.as_list().unwrap()) {
        assert_eq!((&task["name"], &task["args"][0]), (&Value::from("t.hang"), &Value::from("[redacted]")), "{task:?}");
    }
    let ids: Value = handles.iter().map(|handle| handle.id()).collect();
    let found = ask(client, "query_task", value!({"ids": (ids.clone())})).await;
    let mut states: Vec<_> = found.as_map().unwrap().values().map(|entry| entry[0].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["active", "active", "reserved"]);
    assert_eq!(ask(client, "stats", ()).await["total"], value!({"t.hang": 2}));

    // One slot more, and the third one runs.
    ask(client, "pool_grow", value!({"n": 1})).await;
    let active = async || ask(client, "active", ()).await;
    eventually("three to run", active, |active| active.as_list().is_some_and(|list| list.len() == 3)).await;
    ask(client, "pool_shrink", value!({"n": 2})).await;
    assert_eq!(ask(client, "stats", ()).await["pool"]["max-concurrency"], 1);
    ask(client, "terminate", value!({"signal": "TERM", "task_id": (ids)})).await;
    for handle in &handles {
        handle.wait().await.unwrap();
    }
    assert_eq!(add(1, 2).submit(client).await.unwrap().get().await.unwrap(), 3, "one slot is left");
}

#[celeriac_tests::test]
async fn limits_change_while_the_worker_runs(bed: Bed) {
    let worker = running(&bed).await;
    let client = &worker.client;
    let rate = |rate: Value| value!({"task_name": "t.add", "rate_limit": (rate)});
    assert_eq!(ask(client, "rate_limit", rate("7/m".into())).await["ok"], "new rate limit set successfully");
    assert_eq!(worker.controls.rate_limit("t.add").unwrap().unwrap().to_string(), "7/m");
    assert_eq!(ask(client, "registered", ()).await, value!(["t.add [rate_limit=7/m]", "t.hang"]));
    assert_eq!(ask(client, "rate_limit", rate(Value::Null)).await["ok"], "rate limit disabled successfully");
    assert_eq!(worker.controls.rate_limit("t.add").unwrap(), None);

    let limits = value!({"task_name": "t.hang", "hard": 0.2, "soft": null});
    assert_eq!(ask(client, "time_limit", limits).await["ok"], "time limits set successfully");
    let row = hang("x".to_owned()).submit(client).await.unwrap().wait().await.unwrap();
    assert_outcome!(row, Failure, attempts: 1, kind: "TimeLimitExceeded");
    let never = value!({"task_name": "t.hang", "hard": 1, "soft": 2});
    assert!(ask(client, "time_limit", never).await["error"].as_str().unwrap().contains("never reached"));
    assert_eq!(ask(client, "time_limit", value!({"task_name": "t.no"})).await["error"], "unknown task");
}

#[celeriac_tests::test]
async fn queues_are_added_and_cancelled_while_the_worker_runs(bed: Bed) {
    let worker = running(&bed).await;
    let client = &worker.client;
    let on_extra = async |x| add(x, 1).queue("extra").submit(client).await.unwrap();
    let waits = on_extra(1).await;
    for _ in 0..2 {
        assert_eq!(ask(client, "add_consumer", value!({"queue": "extra"})).await["ok"], "add consumer extra");
    }
    assert_eq!(waits.get().await.unwrap(), 2);
    let names = async || {
        let queues = ask(client, "active_queues", ()).await;
        queues.as_list().unwrap().iter().map(|queue| queue["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["celeriac", "extra"]);
    let cancelled = ask(client, "cancel_consumer", value!({"queue": "extra"})).await;
    assert_eq!(cancelled["ok"], "no longer consuming from extra");
    eventually("it to end", names, |names| *names == ["celeriac"]).await;
    let waits = on_extra(2).await;
    assert_eq!(add(1, 1).submit(client).await.unwrap().get().await.unwrap(), 2, "the other queue is consumed");
    assert!(!waits.ready().await.unwrap());
    ask(client, "add_consumer", value!({"queue": "extra"})).await;
    assert_eq!(waits.get().await.unwrap(), 3);
}

#[celeriac_tests::test]
async fn tasks_are_revoked_by_id_and_by_stamp(bed: Bed) {
    let worker = running(&bed).await;
    let client = &worker.client;
    let held = add(1, 2).delay(Duration::from_secs(5)).submit(client).await.unwrap();
    let ids = value!({"task_id": (held.id())});
    let answer = ask(client, "revoke", ids).await;
    assert_eq!(answer["ok"], format!("tasks {{'{}'}} flagged as revoked", held.id()));
    assert_eq!(ask(client, "revoked", ()).await, value!([(held.id())]));
    assert_outcome!(held.wait().await.unwrap(), Revoked);
    let headers = value!({"headers": ["tenant=7"]});
    let answer = ask(client, "revoke_by_stamped_headers", headers).await;
    assert_eq!(answer["ok"], "headers {'tenant': '7'} flagged as revoked, but not terminated");
    let stamped = add(1, 2).stamp("tenant", 7).submit(client).await.unwrap();
    assert_outcome!(stamped.wait().await.unwrap(), Revoked);
    let other = add(1, 2).stamp("tenant", 8).submit(client).await.unwrap();
    assert_eq!(other.get().await.unwrap(), 3);
}

#[celeriac_tests::test]
async fn heartbeats_and_events_of_tasks_are_sent_on_command(bed: Bed) {
    let program = bed.program(tasks![add]).set("worker.events", "worker").set("worker.heartbeat_interval", "1h");
    let worker = start(&bed, program).await;
    let client = &worker.client;
    let mut events = client.events().await.unwrap();
    let mut next = async |kind: &str| {
        let next = async {
            loop {
                let event = events.next().await.unwrap();
                if event.kind == kind {
                    return event;
                }
                assert!(!event.kind.starts_with("task-"), "{event:?} before {kind}");
            }
        };
        timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("no {kind}"))
    };
    ask(client, "heartbeat", ()).await;
    assert_eq!(next("worker-heartbeat").await.hostname, "w1@here");

    // Monitors are told of neither the first task nor the last one.
    let run = async || add(1, 2).submit(client).await.unwrap().get().await.unwrap();
    run().await;
    assert_eq!(ask(client, "enable_events", ()).await["ok"], "task events enabled");
    let told = add(1, 2).submit(client).await.unwrap();
    for kind in ["task-received", "task-started", "task-succeeded"] {
        assert_eq!(next(kind).await.uuid(), Some(told.id()), "{kind}");
    }
    assert_eq!(ask(client, "disable_events", ()).await["ok"], "task events disabled");
    run().await;
    ask(client, "heartbeat", ()).await;
    next("worker-heartbeat").await;
}

#[celeriac_tests::test]
async fn a_worker_whose_control_is_off_is_not_seen(bed: Bed) {
    let worker = bed.start(bed.program(tasks![add]).set("worker.control", "off")).await;
    assert_eq!(add(1, 2).submit(&worker.client).await.unwrap().get().await.unwrap(), 3);
    let replies = worker.client.control().timeout(Duration::from_millis(500)).ask("ping", ()).await.unwrap();
    assert_eq!(replies, []);
}
