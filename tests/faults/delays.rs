//! Delayed tasks while their broker and their workers are killed.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_servers::RabbitNode;
use celeriac_tests::wait::eventually_within;
use celeriac_tests::{Bed, Peer};
use celeriac_topology::delay;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use sqlx::PgConnection;

use crate::lateness::Lateness;
use crate::ledger::{Ledger, is_long, note};

/// Largest growth of a worker while tasks wait, in KiB: a fraction of the tasks' size.
const FLAT: u64 = 8 * 1024;

#[celeriac_tests::test(real, threads = 2)]
async fn no_delayed_task_is_lost_or_early_although_broker_and_workers_are_killed(bed: Bed) {
    let (count, longest) = if is_long() { (20_000, 120) } else { (2_000, 20) };
    let node = RabbitNode::start().unwrap();
    let client = bed.client(bed.program(tasks![note]).set("broker.url", node.url())).await;
    let variables = [("CELERIAC__BROKER__URL", node.url())];
    let worker = async |name: &str| {
        let mut worker = bed.process_with(&["worker", "-l", "info", "-n", name], &variables);
        worker.says_within(Duration::from_secs(120), "ready").await;
        worker
    };
    let mut database = bed.database().await;
    let first = worker("first").await;

    let in_an_hour = note(0).delay(Duration::from_secs(3600)).submit(&client).await.unwrap();
    note(1).delay(Duration::from_secs(1)).submit(&client).await.unwrap().get().await.unwrap();
    let before = first.resident();
    let mut ledger = Ledger::default();
    let delayed = |number| note(number).delay(Duration::from_secs(fastrand::u64(1..=longest)));
    ledger.issue_each(&client, (0..count).map(delayed)).await;
    let while_waiting = first.resident();

    recorded(&mut database, count / 4).await;
    first.kill().await;
    let second = worker("second").await;
    recorded(&mut database, count / 2).await;
    node.kill().unwrap();
    node.restart().unwrap();
    recorded(&mut database, count * 3 / 4).await;
    second.kill().await;
    let mut third = worker("third").await;
    ledger.settle(&bed, Duration::from_secs(300)).await;

    let Lateness { earliest, p50, p99, latest } = Lateness::measure(&mut database, LATE).await;
    println!(
        "delays of 1 to {longest} s, broker killed once, worker twice: issued {}, unconfirmed {}; late by {p50:.3} s p50, \
         {p99:.3} s p99, {latest:.3} s at most, {earliest:.3} s at least; worker {before} KiB before, {while_waiting} KiB \
         while they waited, {} KiB at the end",
        ledger.issued(),
        ledger.unconfirmed,
        third.resident()
    );
    assert_eq!((ledger.unconfirmed, ledger.issued()), (0, usize::try_from(count).unwrap()));
    assert!(earliest > -1.0, "a task came {} s early", -earliest);
    assert!(while_waiting < before + FLAT, "{before} KiB became {while_waiting} KiB");
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM celeriac.tasks WHERE id = $1")
        .bind(in_an_hour.id())
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(held, 0, "the hour is not over");
    third.signal("TERM");
    assert_eq!(third.exit_code(Duration::from_secs(40)).await, 0, "{}", third.output());
    client.close().await;
}

/// Waits until this many tasks have ended.
async fn recorded(database: &mut PgConnection, count: u64) {
    let count = count.cast_signed();
    let rows = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM celeriac.tasks").fetch_one(&mut *database).await.unwrap()
    };
    eventually_within(Duration::from_secs(300), "tasks end", rows, |rows| *rows >= count).await;
}

/// Lateness of starts, in seconds.
const LATE: &str = "SELECT extract(epoch FROM started_at - eta)::double precision AS late FROM celeriac.tasks";

const RETRIES: u32 = 30;

#[task(name = "test.stubborn", max_retries = 30)]
async fn stubborn(ctx: TaskContext) -> TaskResult<u32> {
    if ctx.attempt() <= RETRIES {
        return Err(TaskError::retry_in(Duration::from_secs(1), "not yet"));
    }
    Ok(ctx.attempt())
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_task_of_a_topic_exchange_is_retried_thirty_times_and_its_routing_key_does_not_grow(bed: Bed) {
    let program = bed
        .program(tasks![stubborn, note])
        .set("exchanges", "{orders: {type: topic}}")
        .set("queues", "{orders.billing: {bindings: [{exchange: orders, routing_key: 'billing.#'}]}}")
        .set("task_routes", "[{task: test.stubborn, exchange: orders, routing_key: billing.charge}]");
    let running = bed.start(program).await;
    let peer = bed.peer().await;
    // After one task has run, everything is declared.
    note(1).submit(&running.client).await.unwrap().get().await.unwrap();
    tap(&peer).await;

    let handle = stubborn().submit(&running.client).await.unwrap();
    let row = handle.wait_timeout(Duration::from_secs(300)).await.unwrap();
    assert_eq!((row.state, row.attempts), (TaskState::Success, RETRIES + 1));
    let arrived = arrived(&peer).await;
    // On a busy machine a retry may be due before it is sent, and then it is not delayed.
    assert!(arrived.len() > 20 && arrived.len() <= usize::try_from(RETRIES).unwrap(), "{}", arrived.len());
    for (key, deaths) in arrived {
        assert_eq!(delay::strip_delay_prefix(&key), "orders.billing", "{key}");
        // One entry for the level that delayed it, and none from earlier retries.
        assert_eq!(deaths, [("celery_delayed_0".to_owned(), 1)]);
    }
    running.stop().await;
}

const TAP: &str = "tap";

/// Binds a queue that gets a copy of every message after its delay.
async fn tap(peer: &Peer) {
    let (options, none) = (QueueDeclareOptions::default(), FieldTable::default());
    peer.channel().queue_declare(TAP.into(), options, none.clone()).await.unwrap();
    let exchange = delay::Ladder::default().delivery_exchange().into();
    peer.channel().queue_bind(TAP.into(), exchange, "#".into(), QueueBindOptions::default(), none).await.unwrap();
}

/// Returns routing keys, with the queues and counts of each message's deaths.
async fn arrived(peer: &Peer) -> Vec<(String, Vec<(String, i64)>)> {
    let mut arrived = Vec::new();
    while let Some(message) = peer.channel().basic_get(TAP.into(), BasicGetOptions::default()).await.unwrap() {
        let delivery = &message.delivery;
        let headers = delivery.properties.headers().clone().unwrap_or_default();
        arrived.push((delivery.routing_key.to_string(), deaths(&headers)));
        peer.channel().basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await.unwrap();
    }
    arrived
}

fn deaths(headers: &FieldTable) -> Vec<(String, i64)> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return Vec::new() };
    let death = |value: &AMQPValue| {
        let AMQPValue::FieldTable(death) = value else { return None };
        let queue = death.inner().get("queue")?.as_long_string()?.to_string();
        let AMQPValue::LongLongInt(count) = death.inner().get("count")? else { return None };
        Some((queue, *count))
    };
    deaths.as_slice().iter().filter_map(death).collect()
}
