//! Outcomes that come as Celery's replies. A bare client plays the worker.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Celeriac, Client};
use celeriac_broker::{Outgoing, Subscription};
use celeriac_client::{Awaited, Error};
use celeriac_config::Environment;
use celeriac_protocol::{Message, Properties};
use celeriac_tests::peer::Found;
use celeriac_tests::{Bed, Peer, Program, Proxy, Running, eventually};
use lapin::BasicProperties;
use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value as Json, json};

#[task(name = "t.add")]
async fn add(a: i64, b: i64) -> TaskResult<i64> {
    Ok(a + b)
}

async fn client(bed: &Bed, settings: &[(&'static str, &str)]) -> Client {
    let builder = bed.program(tasks![add]).set("results.url", "rpc://").set("client.result_timeout", "60s");
    let builder = settings.iter().fold(builder, |builder, (key, value)| builder.set(key, *value));
    builder.build().unwrap().client().await.unwrap()
}

/// The one task on the queue.
async fn taken(peer: &Peer) -> Found {
    let mut found = peer.take_all("celeriac").await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// What a worker of Celery writes, key by key.
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

async fn state_becomes<T>(handle: &TaskHandle<T>, state: State) {
    eventually("the state", async || handle.status().await.unwrap(), |now| *now == state).await;
}

#[tokio::test]
async fn a_result_comes_as_a_reply() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    assert_eq!((handle.status().await.unwrap(), handle.record().await.unwrap()), (State::Pending, None));
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    assert_eq!(task.correlation_id.as_deref(), Some(handle.id()));
    answer(&peer, &task, "STARTED", json!({"pid": 16945, "hostname": "w1@vm"})).await;
    state_becomes(&handle, State::Started).await;
    assert!(!handle.ready().await.unwrap());
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    assert!(handle.ready().await.unwrap() && handle.successful().await.unwrap() && !handle.failed().await.unwrap());
    let record = handle.record().await.unwrap().unwrap();
    assert_eq!((record.id.as_str(), record.result.as_deref()), (handle.id(), Some("3")));
    assert_eq!(record.finished_at, Some("2026-11-20T09:29:25.651459Z".parse().unwrap()));
    assert!(handle.forget().await.unwrap());
    assert_eq!(handle.record().await.unwrap(), None);
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn a_failure_of_python_tells_type_module_message_and_traceback() {
    let bed = Bed::new().await;
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
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn a_retry_is_told_and_the_end_after_it() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    let error = json!({"exc_type": "ConnectionError", "exc_message": ["later"], "exc_module": "builtins"});
    answer(&peer, &task, "RETRY", error).await;
    state_becomes(&handle, State::Retry).await;
    assert_eq!(handle.record().await.unwrap().unwrap().failure.unwrap().message, "later");
    answer(&peer, &task, "PROGRESS", json!({"done": 50})).await;
    state_becomes(&handle, State::Started).await;
    assert_eq!(handle.record().await.unwrap().unwrap().result.as_deref(), Some("{\"done\":50}"));
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn garbage_duplicates_and_replies_that_nobody_wants_disturb_nothing() {
    let bed = Bed::new().await;
    let client = client(&bed, &[("broker.max_message_size", "64KiB")]).await;
    let (kept, dropped) = (add(1, 2).submit(&client).await.unwrap(), add(3, 4).submit(&client).await.unwrap());
    let peer = bed.peer().await;
    let tasks = peer.take_all("celeriac").await;
    let task = |id: &str| tasks.iter().find(|task| task.header("id").as_deref() == Some(id)).unwrap();
    let (kept_task, dropped_task) = (task(kept.id()), task(dropped.id()));
    drop(dropped);
    answer(&peer, dropped_task, "SUCCESS", json!(7)).await;
    for garbage in
        [&b"{"[..], b"", b"[]", b"{}", b"\xff\xfe", b"{\"status\": 5}", b"{\"status\": \"SUCCESS\", \"result\": nan}"]
    {
        peer.reply(kept_task, garbage).await;
    }
    peer.reply(kept_task, "[".repeat(5_000).as_bytes()).await;
    peer.reply(kept_task, &serde_json::to_vec(&meta(kept_task, "SUCCESS", json!("x".repeat(70_000)))).unwrap()).await;
    let queue = kept_task.reply_to.clone().unwrap();
    peer.put(&queue, BasicProperties::default(), b"bare").await;
    peer.put(&queue, BasicProperties::default().with_content_type("application/x-python-serialize".into()), b"\x80")
        .await;
    answer(&peer, kept_task, "SUCCESS", json!(3)).await;
    assert_eq!(kept.get().await.unwrap(), 3);
    // A worker that ran it again says otherwise.
    let error = json!({"exc_type": "ValueError", "exc_message": ["again"], "exc_module": "builtins"});
    answer(&peer, kept_task, "FAILURE", error).await;
    answer(&peer, kept_task, "SUCCESS", json!(4)).await;
    let last = add(5, 6).submit(&client).await.unwrap();
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(11)).await;
    // Replies come in order: when the last is there, those before it are.
    assert_eq!((last.get().await.unwrap(), kept.get().await.unwrap()), (11, 3));
    assert_eq!(client.handle::<i64>(dropped_task.header("id").unwrap()).record().await.unwrap(), None);
    client.close().await;
    bed.clear().await;
}

/// Whether the queue exists, and is what Celeriac declares.
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

#[tokio::test]
async fn one_queue_serves_every_task_and_goes_when_the_client_is_closed() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handles = client.submit_all((0..20).map(|number| add(number, 1))).await;
    let peer = bed.peer().await;
    let tasks = peer.take_all("celeriac").await;
    let queue = tasks[0].reply_to.clone().unwrap();
    assert!(tasks.iter().all(|task| task.reply_to.as_deref() == Some(&queue)));
    assert!(is_reply_queue(&bed, &queue).await);
    let handle = handles.into_iter().next().unwrap().unwrap();
    // Who waits when the client is closed is told so, and does not wait for the deadline.
    let (outcome, ()) = tokio::join!(handle.get(), client.close());
    assert!(matches!(outcome, Err(Error::Closed)), "{outcome:?}");
    assert!(!is_reply_queue(&bed, &queue).await);
    bed.clear().await;
}

#[tokio::test]
async fn a_client_that_is_dropped_takes_its_queue_with_it() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let queue = taken(&bed.peer().await).await.reply_to.unwrap();
    assert!(is_reply_queue(&bed, &queue).await);
    drop((client, handle));
    eventually("the queue", async || is_reply_queue(&bed, &queue).await, |there| !there).await;
    bed.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_arrives_although_the_broker_closed_the_connection_before() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let task = taken(&bed.peer().await).await;
    let (management, vhost) = bed.management();
    // The broker lists connections with some delay.
    let closed = async || management.close_connections(vhost).await;
    eventually("connections to close", closed, |closed| *closed >= 2).await;
    let peer = bed.peer().await;
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    client.close().await;
    bed.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_are_on_their_way_when_the_network_drops_arrive_nevertheless() {
    const COUNT: i64 = 400;
    let bed = Bed::new().await;
    let (_, server) = bed.amqp_url().split_once('@').map(|(user, rest)| (user.to_owned(), rest.to_owned())).unwrap();
    let server = server.split('/').next().unwrap().to_owned();
    let proxy = Proxy::before(server.clone()).await;
    let url = proxy.url(&bed.amqp_url(), &server);
    let client = client(&bed, &[("broker.url", &url)]).await;
    let handles = client.submit_all((0..COUNT).map(|number| add(number, 0))).await;
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
        assert_eq!(handle.get_within(Duration::from_secs(60)).await.unwrap(), number);
    }
    assert!(proxy.connections() > before, "the test has to cut to mean anything");
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn a_queue_that_somebody_deleted_is_made_again() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    let task = taken(&peer).await;
    let queue = task.reply_to.clone().unwrap();
    peer.channel().queue_delete(queue.as_str().into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    eventually("the queue", async || is_reply_queue(&bed, &queue).await, |there| *there).await;
    answer(&peer, &task, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn a_task_of_another_process_is_a_timeout_that_says_why() {
    let bed = Bed::new().await;
    let (sender, other) = (client(&bed, &[]).await, client(&bed, &[]).await);
    let handle = add(1, 2).submit(&sender).await.unwrap();
    let peer = bed.peer().await;
    let patience = Duration::from_millis(50);
    let early = handle.get_within(patience).await.unwrap_err();
    assert!(matches!(early, Error::Timeout { awaited: Awaited::Reply, .. }), "{early:?}");
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(3)).await;
    assert_eq!(handle.get().await.unwrap(), 3);
    let elsewhere = other.handle::<i64>(handle.id()).get_within(patience).await.unwrap_err();
    assert!(matches!(elsewhere, Error::Timeout { awaited: Awaited::ReplyToAnother, .. }), "{elsewhere:?}");
    assert!(elsewhere.help().unwrap().contains("only the process that sent the task"), "{elsewhere:?}");
    // In the process that sent it, another handle is as good.
    assert_eq!(sender.handle::<i64>(handle.id()).get().await.unwrap(), 3);
    sender.close().await;
    other.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn an_ignored_result_asks_for_no_reply() {
    let bed = Bed::new().await;
    let client = client(&bed, &[]).await;
    let handle = add(1, 2).ignore_result().submit(&client).await.unwrap();
    let task = taken(&bed.peer().await).await;
    assert_eq!((task.reply_to, task.correlation_id), (None, None));
    let error = handle.get().await.unwrap_err();
    assert!(matches!(error, Error::NoReply { .. }), "{error:?}");
    client.close().await;
    bed.clear().await;
}

#[tokio::test]
async fn beside_a_store_the_first_answer_counts() {
    let bed = Bed::new().await;
    let settings = [("results.url", &*bed.database_url()), ("client.replies", "true")];
    let client = client(&bed, &settings).await;
    let python = add(1, 2).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    answer(&peer, &taken(&peer).await, "SUCCESS", json!(3)).await;
    assert_eq!(python.get().await.unwrap(), 3);
    assert_eq!(python.record().await.unwrap().unwrap().result.as_deref(), Some("3"));
    assert!(python.forget().await.unwrap());
    let running = Running::start(&bed.program(tasks![add]).build().unwrap()).await;
    let rust = add(3, 4).submit(&client).await.unwrap();
    assert_eq!(rust.get().await.unwrap(), 7);
    eventually(
        "the row",
        async || rust.record().await.unwrap(),
        |row| row.as_ref().is_some_and(|row| row.name == "t.add" && row.attempts == 1),
    )
    .await;
    running.stop().await;
    client.close().await;
    bed.clear().await;
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
    let subscription = Subscription { queue: "celeriac".to_owned(), prefetch: 1, most: 1, tag: "worker".to_owned() };
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

#[tokio::test]
async fn the_command_line_waits_for_a_reply_and_says_that_none_is_stored() {
    let bed = Bed::new().await;
    let variables = [
        ("CELERIAC__BROKER__URL", bed.amqp_url()),
        ("CELERIAC__RESULTS__URL", "rpc://".to_owned()),
        ("CELERIAC__DEFAULT_QUEUE", "celeriac".to_owned()),
    ];
    let client = client(&bed, &[]).await;
    add(0, 0).submit(&client).await.unwrap();
    let peer = bed.peer().await;
    taken(&peer).await;
    let call = ["call", "t.add", "-a", "[1, 2]", "--id", "c-1", "--wait", "30s", "--json"];
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
    client.close().await;
    bed.clear().await;
}
