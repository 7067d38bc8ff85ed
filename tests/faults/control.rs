//! Remote control while everything else is busy or away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac::RemoteControl;
use celeriac::prelude::*;
use celeriac_broker::BrokerOptions;
use celeriac_config::Secret;
use celeriac_servers::{Durability, PostgresNode, RabbitNode};
use celeriac_tests::{Bed, Program, eventually};
use futures::StreamExt;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

/// Computes or blocks on a thread of its own.
#[task(name = "test.block")]
async fn block(milliseconds: u64) -> u64;

const NODE: &str = "w1@here";

const COMMANDS: [&str; 3] = ["ping", "active", "stats"];

/// The time that Flower waits.
const FLOWER: Duration = Duration::from_secs(1);

fn remote(url: &str) -> RemoteControl {
    let options = BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() };
    let broker = celeriac_broker::connect(&options, "remote").unwrap();
    RemoteControl::new(broker, Arc::default()).to([NODE]).timeout(Duration::from_secs(10))
}

/// Asks many times, and prints how long the answers took.
async fn ask_often(remote: &RemoteControl, when: &str) {
    let mut times = Vec::new();
    for command in COMMANDS.iter().cycle().take(60) {
        let began = Instant::now();
        let replies = remote.ask(command, ()).await.unwrap();
        assert_eq!(replies.len(), 1, "{when}: no answer to {command} after {:?}", began.elapsed());
        assert_eq!(replies[0].refusal(), None);
        times.push(began.elapsed());
    }
    times.sort();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{when}: {} answers, median {median:.1?}, slowest {last:.1?}", times.len());
    assert!(median < FLOWER, "{when}: median {median:?}");
}

async fn worker(bed: &Bed, variables: &[(&str, String)]) -> Program {
    let mut worker = bed.process_with(&["worker", "-n", NODE, "-c", "4", "-l", "info"], variables);
    worker.says("worker ready").await;
    worker
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_answers_while_all_slots_are_busy_and_while_it_drains(bed: Bed) {
    let mut worker = worker(&bed, &[("JOURNAL", "/dev/null".to_owned())]).await;
    let client = bed.client(bed.program([])).await;
    let submitted: Vec<_> = client.submit_stream((0..2_000).map(|_| block(60_000))).collect().await;
    assert!(submitted.iter().all(Result::is_ok));
    let remote = remote(&bed.amqp_url());
    let active = async || remote.ask("active", ()).await.unwrap();
    eventually("all slots to be busy", active, |replies| {
        replies.first().and_then(|reply| reply.value.as_list()).is_some_and(|tasks| tasks.len() == 4)
    })
    .await;
    ask_often(&remote, "all slots busy, 2,000 tasks waiting").await;
    worker.signal("TERM");
    worker.says("worker stopping").await;
    ask_often(&remote, "during the drain").await;
    worker.kill().await;
    remote.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_answers_while_postgres_is_away(bed: Bed) {
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let worker = worker(&bed, &[("CELERIAC__RESULTS__URL", postgres.url())]).await;
    let remote = remote(&bed.amqp_url());
    ask_often(&remote, "before").await;
    postgres.stop().unwrap();
    ask_often(&remote, "postgres away").await;
    worker.kill().await;
    remote.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_is_found_again_after_the_broker_was_killed_with_the_queue_that_was_added(bed: Bed) {
    let node = tokio::task::spawn_blocking(RabbitNode::start).await.unwrap().unwrap();
    let worker = worker(&bed, &[("CELERIAC__BROKER__URL", node.url())]).await;
    let asked = remote(&node.url());
    let added = asked.ask("add_consumer", celeriac::value!({"queue": "added"})).await.unwrap();
    assert_eq!(added[0].refusal(), None);
    asked.close().await;
    let node = tokio::task::spawn_blocking(move || node.stop().map(|()| node)).await.unwrap().unwrap();
    let node = tokio::task::spawn_blocking(move || node.restart().map(|()| node)).await.unwrap().unwrap();
    let remote = remote(&node.url());
    let queues = async || remote.ask("active_queues", ()).await.map(|replies| replies.len()).unwrap_or_default();
    eventually("the worker to answer", queues, |replies| *replies == 1).await;
    let replies = remote.ask("active_queues", ()).await.unwrap();
    let names: Vec<_> = replies[0].value.as_list().unwrap().iter().map(|queue| queue["name"].clone()).collect();
    assert_eq!(names, ["celeriac", "added"]);
    let client =
        bed.client(bed.program([]).set("broker.url", node.url()).set("queues", "{added: {external: true}}")).await;
    let handle = note(7).queue("added").submit(&client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 7);
    worker.kill().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn garbage_on_the_exchange_neither_ends_nor_stalls_a_worker(bed: Bed) {
    let mut worker = worker(&bed, &[]).await;
    let peer = bed.peer().await;
    let (channel, options) = (peer.channel(), ExchangeDeclareOptions::default());
    let exchange = "celery.pidbox";
    channel.exchange_declare(exchange.into(), ExchangeKind::Fanout, options, FieldTable::default()).await.unwrap();
    let json = BasicProperties::default().with_content_type("application/json".into());
    let deep = "[".repeat(100_000);
    let huge = format!(r#"{{"method": "ping", "arguments": {{"x": "{}"}}}}"#, "x".repeat(5 << 20));
    let elsewhere = r#"{"method": "ping", "ticket": "t", "reply_to": {"exchange": "", "routing_key": "celeriac"}}"#;
    let nowhere = r#"{"method": "ping", "ticket": "t", "reply_to": {"exchange": "nope", "routing_key": "x"}}"#;
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        r#"{"method": "nope"}"#,
        r#"{"method": "revoke"}"#,
        &deep,
        &huge,
        elsewhere,
        nowhere,
        r#"{"method": "rate_limit", "arguments": {"task_name": [], "rate_limit": {}}}"#,
        r#"{"method": "ping", "pattern": "((((", "matcher": "pcre"}"#,
    ];
    let mut headers = FieldTable::default();
    headers.insert("clock".into(), AMQPValue::LongString("later".into()));
    for _ in 0..50 {
        for body in bodies {
            let properties = [json.clone(), BasicProperties::default(), json.clone().with_headers(headers.clone())];
            for properties in properties {
                let options = BasicPublishOptions::default();
                channel.basic_publish(exchange.into(), "".into(), options, body.as_bytes(), properties).await.unwrap();
            }
        }
    }
    let remote = remote(&bed.amqp_url()).timeout(Duration::from_secs(60));
    let replies = remote.ask("ping", ()).await.unwrap();
    assert_eq!(replies.len(), 1);
    assert!(worker.is_running());
    assert_eq!(peer.ready("celeriac").await, 0, "no reply went to a queue of tasks");
    let client = bed.client(bed.program([])).await;
    assert_eq!(note(7).submit(&client).await.unwrap().get().await.unwrap(), 7);
    worker.kill().await;
    remote.close().await;
}

/// The task `test.note` of the test program.
#[task(name = "test.note")]
async fn note(number: u64) -> u64;
