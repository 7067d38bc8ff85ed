//! Outcomes from Celery's replies. A bare client acts as the worker.

use std::time::Duration;

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac::{Celeriac, Client};
use celeriac_broker::{Outgoing, Subscription};
use celeriac_client::{Awaited, Error};
use celeriac_config::Environment;
use celeriac_protocol::{Message, Properties};
use celeriac_tests::peer::Found;
use celeriac_tests::{Bed, Peer, Program, Proxy, eventually};
use lapin::BasicProperties;
use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value as Json, json};

#[task(name = "t.add")]
async fn add(a: i64, b: i64) -> TaskResult<i64> {
    Ok(a + b)
}

fn program(bed: &Bed, settings: &[(&'static str, &str)]) -> Builder {
    let builder = bed.program(tasks![add]).set("results.url", "rpc://").set("client.result_timeout", "60s");
    settings.iter().fold(builder, |builder, (key, value)| builder.set(key, *value))
}

async fn client(bed: &Bed, settings: &[(&'static str, &str)]) -> Client {
    bed.client(program(bed, settings)).await
}

/// Returns the one task on the queue.
async fn taken(peer: &Peer) -> Found {
    let mut found = peer.take_all("celeriac").await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Returns the result meta of a Celery worker, key by key.
fn meta(task: &Found, status: &str, result: Json) -> Json {
    let ended = matches!(status, "SUCCESS" | "FAILURE" | "REVOKED");
    let mut meta = json!({
        "status": status,
        "result": null,
        "traceback": null,
        "children": [],
        "date_done": ended.then_some("2026-11-20T09:29:25.651459+00:00"),
        "task_id": task.header("id"),
    });
    meta["result"] = result;
    meta
}

async fn answer(peer: &Peer, task: &Found, status: &str, result: Json) {
    peer.reply(task, &serde_json::to_vec(&meta(task, status, result)).unwrap()).await;
}

async fn state_becomes<T>(handle: &TaskHandle<T>, state: TaskState) {
    eventually("the state", async || handle.status().await.unwrap(), |now| *now == state).await;
}

#[celeriac_tests::test]
async fn a_result_comes_as_a_reply(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    assert_eq!((handle.status().await.unwrap(), handle.record().await.unwrap()), (TaskState::Pending, None));
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    assert_eq!(task.correlation_id.as_deref(), Some(handle.id()));
    answer(&peer, &task, "STARTED", json!({"pid": 16945, "hostname": "w1@vm"})).await;
    state_becomes(&handle, TaskState::Started).await;
    assert!(!handle.ready().await.unwrap());
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    assert!(handle.ready().await.unwrap() && handle.successful().await.unwrap() && !handle.failed().await.unwrap());
    let record = handle.record().await.unwrap().unwrap();
    assert_eq!((record.id.as_str(), record.result.as_deref()), (handle.id(), Some("3")));
    assert_eq!(record.finished_at, Some("2026-11-20T09:29:25.651459Z".parse().unwrap()));
    assert!(handle.forget().await.unwrap());
    assert_eq!(handle.record().await.unwrap(), None);
}

#[celeriac_tests::test]
async fn a_failure_of_python_tells_type_module_message_and_traceback(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    let error = json!({"exc_type": "Declined", "exc_message": ["no funds", 3], "exc_module": "shop.pay"});
    let mut failed = meta(&task, "FAILURE", error);
    failed["traceback"] = "Traceback (most recent call last):\n  …".into();
    peer.reply(&task, &serde_json::to_vec(&failed).unwrap()).await;
    let Err(Error::Failed { id, failure }) = handle.get().await else { panic!("no failure") };
    assert_eq!((id.as_str(), failure.kind.as_str()), (handle.id(), "Declined"));
    assert_eq!((failure.module.as_deref(), failure.message.as_str()), (Some("shop.pay"), "('no funds', 3)"));
    assert!(failure.trace.unwrap().starts_with("Traceback"));
    assert!(handle.failed().await.unwrap());
}

#[celeriac_tests::test]
async fn a_retry_is_told_and_the_end_after_it(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    let error = json!({"exc_type": "ConnectionError", "exc_message": ["later"], "exc_module": "builtins"});
    answer(&peer, &task, "RETRY", error).await;
    state_becomes(&handle, TaskState::Retry).await;
    assert_eq!(handle.record().await.unwrap().unwrap().failure.unwrap().message, "later");
    answer(&peer, &task, "PROGRESS", json!({"done": 50})).await;
    state_becomes(&handle, TaskState::Started).await;
    assert_eq!(handle.record().await.unwrap().unwrap().result.as_deref(), Some("{\"done\":50}"));
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
}

/// Returns a client, a call that it has sent, and the message of the call.
async fn one_call(bed: &Bed) -> (Client, TaskHandle<i64>, Peer, Found) {
    let client = client(bed, &[("broker.max_message_size", "64KiB")]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    (client, handle, peer, task)
}

/// Asserts that the next reply is accepted as if it were the first one.
async fn assert_answered(handle: &TaskHandle<i64>, peer: &Peer, task: &Found) {
    answer(peer, task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
}

#[celeriac_tests::test]
async fn a_reply_that_cannot_be_read_is_passed_over(bed: Bed) {
    let (_client, handle, peer, task) = one_call(&bed).await;
    for garbage in
        [&b"{"[..], b"", b"[]", b"{}", b"\xff\xfe", b"{\"status\": 5}", b"{\"status\": \"SUCCESS\", \"result\": nan}"]
    {
        peer.reply(&task, garbage).await;
    }
    assert_answered(&handle, &peer, &task).await;
}

#[celeriac_tests::test]
async fn a_reply_that_nests_without_end_is_passed_over(bed: Bed) {
    let (_client, handle, peer, task) = one_call(&bed).await;
    peer.reply(&task, "[".repeat(5_000).as_bytes()).await;
    assert_answered(&handle, &peer, &task).await;
}

#[celeriac_tests::test]
async fn a_reply_that_is_larger_than_a_message_may_be_is_passed_over(bed: Bed) {
    let (_client, handle, peer, task) = one_call(&bed).await;
    peer.reply(&task, &serde_json::to_vec(&meta(&task, "SUCCESS", json!("x".repeat(70_000)))).unwrap()).await;
    assert_answered(&handle, &peer, &task).await;
}

#[celeriac_tests::test]
async fn a_message_that_is_no_reply_is_passed_over(bed: Bed) {
    let (_client, handle, peer, task) = one_call(&bed).await;
    let queue = task.reply_to.clone().unwrap();
    peer.put(&queue, BasicProperties::default(), b"bare").await;
    let pickle = BasicProperties::default().with_content_type("application/x-python-serialize".into());
    peer.put(&queue, pickle, b"\x80").await;
    assert_answered(&handle, &peer, &task).await;
}

#[celeriac_tests::test]
async fn the_first_end_stands_whatever_a_second_run_says(bed: Bed) {
    let (client, handle, peer, task) = one_call(&bed).await;
    assert_answered(&handle, &peer, &task).await;
    let error = json!({"exc_type": "ValueError", "exc_message": ["again"], "exc_module": "builtins"});
    answer(&peer, &task, "FAILURE", error).await;
    answer(&peer, &task, "SUCCESS", json!(4)).await;
    let last = add(5, 6).submit(&client).await.unwrap();
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(11)).await;
    // Replies arrive in order, so the earlier ones are here when the last is.
    assert_eq!((last.get().await.unwrap(), handle.get().await.unwrap()), (11, 3));
}

#[celeriac_tests::test]
async fn a_reply_that_nobody_awaits_any_more_is_forgotten(bed: Bed) {
    let (client, handle, peer, task) = one_call(&bed).await;
    drop(handle);
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    let last = add(5, 6).submit(&client).await.unwrap();
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(11)).await;
    assert_eq!(last.get().await.unwrap(), 11);
    assert_eq!(client.handle::<i64>(task.header("id").unwrap()).record().await.unwrap(), None);
}

/// Returns `true` if the queue exists as Celeriac declares it.
async fn is_reply_queue(bed: &Bed, queue: &str) -> bool {
    let peer = bed.peer().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(3_600_000));
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    if peer.channel().queue_declare(queue.into(), passive, FieldTable::default()).await.is_err() {
        return false;
    }
    let same = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    peer.channel().queue_declare(queue.into(), same, arguments).await.unwrap();
    true
}

#[celeriac_tests::test]
async fn one_queue_serves_every_task_and_goes_when_the_client_is_closed(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handles = client.submit_many((0..20).map(|number| add(number, 1))).await;
    let peer = bed.peer().await;
    let tasks = peer.take_all("celeriac").await;
    let queue = tasks[0].reply_to.clone().unwrap();
    assert!(tasks.iter().all(|task| task.reply_to.as_deref() == Some(&queue)));
    assert!(peer.has_queue(&queue).await);
    let handle = handles.into_iter().next().unwrap().unwrap();
    // A caller that waits when the client is closed gets an error at once, before the deadline.
    let (outcome, ()) = tokio::join!(handle.get(), client.close());
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    assert!(!peer.has_queue(&queue).await);
}

#[celeriac_tests::test]
async fn a_client_that_is_dropped_takes_its_queue_with_it(bed: Bed) {
    let client = program(&bed, &[]).build().unwrap().client().await.unwrap();
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let queue = taken(&peer).await.reply_to.unwrap();
    assert!(peer.has_queue(&queue).await);
    drop((client, handle));
    eventually("the queue", async || peer.has_queue(&queue).await, |there| !there).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_reply_arrives_although_the_broker_closed_the_connection_before(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let task = taken(&bed.peer().await).await;
    let (management, vhost) = bed.management();
    // The broker lists connections with a delay.
    let closed = async || management.close_connections(vhost).await;
    eventually("connections to close", closed, |closed| *closed >= 2).await;
    let peer = bed.peer().await;
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
}

#[celeriac_tests::test(real, threads = 2)]
async fn replies_that_are_on_their_way_when_the_network_drops_arrive_nevertheless(bed: Bed) {
    const COUNT: i64 = 400;
    let (_, server) = bed.amqp_url().split_once('@').map(|(user, rest)| (user.to_owned(), rest.to_owned())).unwrap();
    let server = server.split('/').next().unwrap().to_owned();
    let proxy = Proxy::before(server.clone()).await;
    let url = proxy.url(&bed.amqp_url(), &server);
    let client = client(&bed, &[("broker.url", &url)]).await;
    let handles = client.submit_many((0..COUNT).map(|number| add(number, 0))).await;
    let handles: Vec<_> = handles.into_iter().map(Result::unwrap).collect();
    let peer = bed.peer().await;
    peer.channel().confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let before = proxy.connections();
    for (number, task) in peer.take_all("celeriac").await.iter().enumerate() {
        let sum: Json = serde_json::from_slice::<Json>(&task.body).unwrap()[0][0].clone();
        answer(&peer, task, "SUCCESS", sum).await;
        if number % 100 == 50 {
            peer.channel().wait_for_confirms().await.unwrap();
            proxy.cut();
        }
    }
    for (number, handle) in (0..).zip(&handles) {
        assert_eq!(handle.get_timeout(Duration::from_secs(60)).await.unwrap(), number);
    }
    assert!(proxy.connections() > before, "the test has to cut to mean anything");
}

#[celeriac_tests::test(real)]
async fn a_queue_that_somebody_deleted_is_made_again(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    let queue = task.reply_to.clone().unwrap();
    peer.channel().queue_delete(queue.as_str().into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    eventually("the queue", async || is_reply_queue(&bed, &queue).await, |there| *there).await;
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
}

#[celeriac_tests::test]
async fn a_task_of_another_process_is_a_timeout_that_says_why(bed: Bed) {
    let (sender, other) = (client(&bed, &[]).await, client(&bed, &[]).await);
    let handle = add(1, 2).submit(&sender).await.unwrap();
    let peer = bed.peer().await;
    let patience = Duration::from_millis(50);
    let early = handle.get_timeout(patience).await.unwrap_err();
    assert!(matches!(early, Error::Timeout { awaited: Awaited::Reply, .. }), "{early:?}");
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    let elsewhere = other.handle::<i64>(handle.id()).get_timeout(patience).await.unwrap_err();
    assert!(matches!(elsewhere, Error::Timeout { awaited: Awaited::ReplyToAnother, .. }), "{elsewhere:?}");
    assert!(elsewhere.help().unwrap().contains("only the process that sent the task"), "{elsewhere:?}");
    // Another handle in the sending process works as well.
    assert_eq!(sender.handle::<i64>(handle.id()).get().await.unwrap(), 3);
}

#[celeriac_tests::test]
async fn an_ignored_result_asks_for_no_reply(bed: Bed) {
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).ignore_result().submit(&client).await.unwrap();
    let task = taken(&bed.peer().await).await;
    assert_eq!((task.reply_to, task.correlation_id), (None, None));
    let error = handle.get().await.unwrap_err();
    assert!(matches!(error, Error::Ignored { .. }), "{error:?}");
}

#[celeriac_tests::test]
async fn beside_a_store_the_first_answer_counts(bed: Bed) {
    let settings = [("results.url", &*bed.database_url()), ("client.request_replies", "true")];
    let client = client(&bed, &settings).await;
    let python = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(3)).await;
    assert_eq!(python.get().await.unwrap(), 3);
    assert_eq!(python.record().await.unwrap().unwrap().result.as_deref(), Some("3"));
    assert!(python.forget().await.unwrap());
    bed.worker(tasks![add]).await;
    let rust = add(3, 4).submit(&client).await.unwrap();
    assert_eq!(rust.get().await.unwrap(), 7);
    eventually(
        "the row",
        async || rust.record().await.unwrap(),
        |row| row.as_ref().is_some_and(|row| row.name == "t.add" && row.attempts == 1),
    )
    .await;
}

#[tokio::test]
async fn replies_come_within_the_process_too() {
    let app = Celeriac::builder()
        .environment(Environment::default())
        .set("broker.url", "memory://replies")
        .set("results.url", "rpc://")
        .tasks(tasks![add])
        .build()
        .unwrap();
    let client = app.client().await.unwrap();
    let handle = add(1, 2).submit(&client).await.unwrap();
    let subscription =
        Subscription { queue: "celeriac".to_owned(), prefetch: 1, most: 1, priority: 0, tag: "worker".to_owned() };
    let mut worker = client.broker().consume(subscription).await.unwrap();
    let delivery = worker.next().await.unwrap();
    let Properties { reply_to, correlation_id, .. } = delivery.message.properties.clone();
    delivery.settlement.ack();
    let content_type = Some("application/json".to_owned());
    let properties = Properties { content_type, correlation_id, ..Properties::default() };
    let body = json!({"status": "SUCCESS", "result": 3, "task_id": handle.id()}).to_string().into();
    let message = Message { properties, body, ..Message::default() };
    let outgoing = Outgoing { exchange: "".into(), routing_key: reply_to.clone().unwrap(), message, mandatory: true };
    client.broker().publish(outgoing).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 3);
    worker.close().await;
    client.close().await;
}

#[celeriac_tests::test(real)]
async fn the_command_line_waits_for_a_reply_and_says_that_none_is_stored(bed: Bed) {
    let variables = bed.environment_with(&[
        ("CELERIAC__RESULTS__URL", "rpc://".to_owned()),
        ("CELERIAC__DEFAULT_QUEUE", "celeriac".to_owned()),
    ]);
    let client = client(&bed, &[]).await;
    add(0, 0).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    taken(&peer).await;
    let call = ["call", "t.add", "--external", "-a", "[1, 2]", "--id", "c-1", "--wait", "30s", "--json"];
    let mut program = Program::start(&call, &variables);
    eventually("the task", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(3)).await;
    let code = program.exit_code(Duration::from_secs(60)).await;
    let said = program.rest().await;
    assert_eq!(code, 0, "{said}");
    let shown: Json = serde_json::from_str(&said).unwrap();
    assert_eq!((&shown["id"], &shown["state"], &shown["result"]), (&"c-1".into(), &"SUCCESS".into(), &3.into()));

    let mut program = Program::start(&["result", "c-1"], &variables);
    let code = program.exit_code(Duration::from_secs(60)).await;
    let said = program.rest().await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("results are not stored"), "{said}");
}
