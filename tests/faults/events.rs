//! RabbitMQ takes no events, or dies, while tasks run that tell monitors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Builder, tasks};
use celeriac_servers::RabbitNode;
use celeriac_tests::wait::{PATIENCE, eventually, eventually_within};
use celeriac_tests::{Bed, Peer};
use serde_json::Value as Json;
use tokio::sync::{Semaphore, watch};

/// The queue that keeps all events.
const MONITORED: &str = "monitored";

/// More tasks than the buffer has events for.
const TASKS: usize = 12_000;

static GATE: Semaphore = Semaphore::const_new(0);
static WAITING: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Waits at the gate.
#[task(name = "events.pass")]
async fn pass() -> TaskResult<()> {
    WAITING.send_modify(|waiting| *waiting += 1);
    GATE.acquire().await?.forget();
    Ok(())
}

/// Ends at once.
#[task(name = "events.end")]
async fn end() -> TaskResult<()> {
    Ok(())
}

/// Returns a program whose worker tells monitors of tasks, and a queue that keeps all events.
fn program(bed: &Bed, node: &RabbitNode) -> Builder {
    let queues =
        "{celeriac: {type: classic}, monitored: {type: classic, bindings: [{exchange: celeryev, routing_key: '#'}]}}";
    bed.program(tasks![pass, end])
        .set("broker.url", node.url())
        .set("exchanges", "{celeryev: {type: topic}}")
        .set("queues", queues)
        .set("worker.queues", "celeriac")
        .set("worker.events", "all")
}

/// Takes all events so far, and returns the types of the events of each task.
async fn told(peer: &Peer, lives: &mut BTreeMap<String, Vec<String>>) {
    for message in peer.take_all(MONITORED).await {
        let body: Json = serde_json::from_slice(&message.body).unwrap();
        let events = if let Json::Array(events) = body { events } else { vec![body] };
        for event in events {
            if let Some(id) = event["uuid"].as_str() {
                lives.entry(id.to_owned()).or_default().push(event["type"].as_str().unwrap().to_owned());
            }
        }
    }
}

async fn succeeded(bed: &Bed) -> i64 {
    let count = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
    sqlx::query_scalar(count).fetch_one(&mut bed.database().await).await.unwrap()
}

#[celeriac_tests::test(real, threads = 2)]
async fn work_goes_on_while_a_memory_alarm_blocks_events_and_whole_tasks_are_dropped(bed: Bed) {
    let node = RabbitNode::start().unwrap();
    let client = bed.client(program(&bed, &node)).await;
    for _ in 0..64 {
        pass().submit(&client).await.unwrap();
    }
    let calls: Vec<_> = (0..TASKS).map(|_| end()).collect();
    client.submit_many(calls).await;
    let running = bed.start(program(&bed, &node)).await;
    let mut waiting = WAITING.subscribe();
    tokio::time::timeout(PATIENCE, waiting.wait_for(|waiting| *waiting == 64)).await.unwrap().unwrap();

    node.ctl(&["set_vm_memory_high_watermark", "0"]).unwrap();
    let health = running.client.broker().health();
    // The broker blocks a connection when it publishes.
    let blocked = async || health.borrow().is_away();
    eventually("it is blocked", blocked, |blocked| *blocked).await;
    GATE.add_permits(64);
    let all = (TASKS + 64) as i64;
    eventually_within(Duration::from_secs(240), "all end", async || succeeded(&bed).await, |done| *done == all).await;
    let peer = Peer::connect(&node.url()).await;
    eventually("all are acknowledged", async || peer.ready("celeriac").await, |ready| *ready == 0).await;

    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    let later = end().submit(&client).await.unwrap();
    let mut lives = BTreeMap::new();
    let ask = async || {
        told(&peer, &mut lives).await;
        lives.get(later.id()).map(Vec::len)
    };
    eventually("events go on", ask, |events| *events == Some(3)).await;
    running.stop().await;
    told(&peer, &mut lives).await;

    let shapes: BTreeSet<_> = lives.values().map(|life| life.join(" ")).collect();
    println!("memory alarm: of {} tasks, monitors were told of {}: {shapes:?}", TASKS + 65, lives.len());
    assert_eq!(shapes, BTreeSet::from(["task-received task-started task-succeeded".to_owned()]), "whole tasks");
    assert!((3_000..TASKS).contains(&lives.len()), "some wait, and those without room are dropped");
    client.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn events_go_on_after_the_broker_was_killed(bed: Bed) {
    let node = RabbitNode::start().unwrap();
    let running = bed.start(program(&bed, &node)).await;
    let peer = Peer::connect(&node.url()).await;
    let mut lives = BTreeMap::new();
    let first = end().submit(&running.client).await.unwrap();
    let ask = async || {
        told(&peer, &mut lives).await;
        lives.get(first.id()).map(Vec::len)
    };
    eventually("the first task is told of", ask, |events| *events == Some(3)).await;

    node.kill().unwrap();
    node.restart().unwrap();
    let peer = Peer::connect(&node.url()).await;
    let next = end().submit(&running.client).await.unwrap();
    next.get_timeout(PATIENCE).await.unwrap();
    let ask = async || {
        told(&peer, &mut lives).await;
        lives.get(next.id()).map(Vec::len)
    };
    eventually("the next task is told of", ask, |events| *events == Some(3)).await;
    running.stop().await;
}
