//! The task's side of a Rust worker, as Celery's clients see it.

use celeriac::prelude::*;
use celeriac::{Chain, DynamicCall, TaskDefinition};
use celeriac_protocol::{Message, Properties};
use celeriac_tests::{Bed, PythonApp, PythonClient, Running, eventually};
use serde_json::json;

use crate::recordings::results_of_python;

/// Starts a worker for the tasks `rust.*` of Celery's clients, and waits until its queue exists:
/// they do not hear of a message that no queue takes.
async fn worker(bed: &Bed, tasks: impl IntoIterator<Item = TaskDefinition>) -> Running {
    let program = bed.program(tasks).set("queues", "{interop-rust: {type: classic, max_priority: 9}}");
    let running = bed.start(program.set("default_queue", "interop-rust")).await;
    let peer = bed.peer().await;
    let consumers = async || peer.consumers("interop-rust").await;
    eventually("it consumes", consumers, |consumers| *consumers == Some(1)).await;
    running
}

#[task(name = "rust.message", time_limit = "90s")]
async fn message(ctx: TaskContext) -> TaskResult<serde_json::Value> {
    let seconds =
        |limits: celeriac::TimeLimits| [limits.hard, limits.soft].map(|limit| limit.map(|time| time.as_secs()));
    let custom: Vec<_> = ctx.custom_headers().map(|(name, value)| json!([name, value])).collect();
    Ok(json!({
        "priority": ctx.priority(),
        "has_reply_to": ctx.reply_to().is_some(),
        "correlation_id": ctx.properties().correlation_id,
        "content_type": ctx.properties().content_type,
        "headers": custom,
        "shadow": ctx.shadow(),
        "root_id": ctx.root_id(),
        "parent_id": ctx.parent_id(),
        "group": ctx.group(),
        "replaced_task_nesting": ctx.replaced_task_nesting(),
        "declared": seconds(ctx.call_time_limits()),
        "effective": seconds(ctx.time_limits()),
    }))
}

#[celeriac_tests::test(real)]
async fn a_task_reads_what_the_message_of_a_python_client_says(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    worker(&bed, tasks![message]).await;
    let mut client = app.client().await;

    let options = json!({"priority": 5, "headers": {"tenant": "blue"}, "soft_time_limit": 50, "shadow": "shown"});
    let id = client.send("rust.message", json!([]), options).await;
    let read = client.result(&id).await["result"].clone();

    let expected = json!({
        "priority": 5,
        "has_reply_to": true,
        "correlation_id": id,
        "content_type": "application/json",
        "headers": [["tenant", "blue"]],
        "shadow": "shown",
        "root_id": id,
        "parent_id": null,
        "group": null,
        "replaced_task_nesting": 0,
        "declared": [null, 50],
        "effective": [90, 50],
    });
    assert_eq!(read, expected);
    client.stop().await;
}

#[task(name = "rust.declined")]
async fn declined() -> TaskResult<()> {
    Err(TaskError::of_kind("Declined", "").of_module("app").with_args([value!("no funds"), value!(9)]))
}

#[celeriac_tests::test(real)]
async fn an_exception_with_arguments_crosses_in_both_directions(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let python = app.worker(1).await;
    let running = worker(&bed, tasks![declined]).await;
    let mut client = app.client().await;

    let id = client.send("rust.declined", json!([]), json!({})).await;
    let raised = client.result(&id).await["exception"].clone();
    assert_eq!((&raised["module"], &raised["type"]), (&json!("app"), &json!("Declined")));
    assert_eq!(raised["args"], json!(["no funds", 9]));
    let row = running.client.handle::<()>(&id).wait_timeout(seconds(50)).await.unwrap();
    let failure = row.failure.unwrap();
    assert_eq!(failure.args_as::<(String, i64)>().unwrap(), ("no funds".to_owned(), 9));
    assert_eq!((failure.module.as_deref(), failure.message.as_str()), (Some("app"), "('no funds', 9)"));

    let replied = bed.client(bed.program([]).set("results.url", "rpc://")).await;
    let call = Signature::new("interop.fail").arg("Declined").arg("no").queue("interop-python");
    let call = DynamicCall::from_signature(call, replied.topology()).unwrap();
    let failed = replied.submit_dynamic(call).await.unwrap().wait_timeout(seconds(50)).await.unwrap();
    let failure = failed.failure.unwrap();
    assert_eq!((failure.kind.as_str(), failure.module.as_deref()), ("Declined", Some("app")));
    assert_eq!(failure.args_as::<(String, i64)>().unwrap(), ("no".to_owned(), 7));

    client.stop().await;
    python.stop().await;
}

/// Sends a call whose replies go to a queue of this test, waits for its end, and returns Celery's
/// reading of each reply.
async fn replies(bed: &Bed, running: &Running, python: &mut PythonClient, call: Signature) -> Vec<serde_json::Value> {
    let peer = bed.peer().await;
    peer.declare_replies("answers").await;
    let mut call = DynamicCall::from_signature(call, running.client.topology()).unwrap();
    call.options.relations.reply_to = Some("answers".to_owned());
    running.client.submit_dynamic(call).await.unwrap().wait_timeout(seconds(50)).await.unwrap();
    let mut bodies = Vec::new();
    let is_last = |body: &Vec<u8>| {
        let reply: serde_json::Value = serde_json::from_slice(body).unwrap();
        ["SUCCESS", "FAILURE"].map(serde_json::Value::from).contains(&reply["status"])
    };
    while !bodies.last().is_some_and(is_last) {
        bodies.extend(peer.take_all("answers").await.into_iter().map(|found| found.body));
        tokio::task::yield_now().await;
    }
    let message = |body: Vec<u8>| Message {
        properties: Properties {
            content_type: Some("application/json".to_owned()),
            content_encoding: Some("utf-8".to_owned()),
            ..Properties::default()
        },
        body: body.into(),
        ..Message::default()
    };
    results_of_python(python, &bodies.into_iter().map(message).collect::<Vec<_>>()).await
}

#[task(name = "rust.given_up", max_retries = 1)]
async fn given_up() -> TaskResult<()> {
    Err(TaskError::retry_in(seconds(0), ""))
}

#[celeriac_tests::test(real)]
async fn a_retry_without_a_cause_is_told_as_celery_tells_it(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let running = worker(&bed, tasks![given_up]).await;
    let mut client = app.client().await;

    let call = Signature::new("rust.given_up").option("task_id", "one");
    let told = replies(&bed, &running, &mut client, call).await;

    let own_child = json!([[["one", null], null]]);
    assert_eq!((&told[0]["state"], &told[0]["result"]), (&json!("RETRY"), &json!(null)), "{told:?}");
    assert_eq!((&told[0]["exception"], &told[0]["meta"]["children"]), (&json!(null), &own_child), "{told:?}");
    let ended = &told[1]["exception"];
    assert_eq!((&ended["module"], &ended["type"]), (&json!("celery.exceptions"), &json!("MaxRetriesExceededError")));
    assert_eq!(told[1]["meta"]["parent_id"], "one");
    client.stop().await;
}

/// Is replaced by the task or chain of this name.
#[task(name = "rust.replaced")]
async fn replaced(ctx: TaskContext, way: String) -> TaskResult<serde_json::Value> {
    let python = || Signature::new("interop.add").arg(3).arg(4).queue("interop-python");
    match way.as_str() {
        "task" => ctx.replace(python()),
        _ => ctx.replace(Chain::new(python()).then(Signature::new("interop.add").arg(10).queue("interop-python"))),
    }
}

#[celeriac_tests::test(real)]
async fn a_python_client_gets_the_result_of_the_replacement(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let python = app.worker(2).await;
    worker(&bed, tasks![replaced]).await;
    let mut client = app.client().await;

    for (way, expected) in [("task", json!(7)), ("chain", json!(17))] {
        let id = client.send("rust.replaced", json!([way]), json!({})).await;
        let told = client.result(&id).await;
        assert_eq!(told["result"], expected, "{way}: {told}");
        // A step behind it, and a callback, follow from the replacement.
        let steps = json!([{"task": "rust.replaced", "args": [way]}, {"task": "interop.add", "args": [100]}]);
        let chain = client.get(json!({"command": "send", "chain": steps})).await;
        let last = client.result(chain["id"].as_str().unwrap()).await;
        assert_eq!(last["result"], json!(100 + expected.as_i64().unwrap()), "{way}: {last}");
    }
    client.stop().await;
    python.stop().await;
}

#[celeriac_tests::test(real)]
async fn a_task_in_python_is_replaced_by_one_in_rust(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let python = app.worker(2).await;
    let running = worker(&bed, tasks![message]).await;
    let mut client = app.client().await;

    let id = client.send("interop.replaced", json!(["rust.message"]), json!({})).await;

    let row = running.client.handle::<serde_json::Value>(&id).wait_timeout(seconds(50)).await.unwrap();
    let read: serde_json::Value = serde_json::from_str(row.result.as_deref().unwrap()).unwrap();
    assert_eq!((&read["replaced_task_nesting"], &read["root_id"]), (&json!(1), &json!(id)));
    client.stop().await;
    python.stop().await;
}

#[task(name = "rust.progress")]
async fn progress(ctx: TaskContext) -> TaskResult<u32> {
    ctx.update_state("PROGRESS", &value!({"done": 1})).await?;
    Ok(10)
}

#[celeriac_tests::test(real)]
async fn a_python_client_sees_the_state_of_a_running_task(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let running = worker(&bed, tasks![progress]).await;
    let mut client = app.client().await;

    let told = replies(&bed, &running, &mut client, Signature::new("rust.progress").option("task_id", "one")).await;

    assert_eq!((&told[0]["state"], &told[0]["result"]), (&json!("PROGRESS"), &json!({"done": 1})), "{told:?}");
    assert_eq!((&told[0]["meta"]["date_done"], &told[0]["meta"]["task_id"]), (&json!(null), &json!("one")));
    assert_eq!((&told[1]["state"], &told[1]["result"]), (&json!("SUCCESS"), &json!(10)));
    client.stop().await;
}
