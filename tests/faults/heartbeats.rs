//! Tasks that use every processor, while the broker expects heartbeats.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;

/// Computes without yielding.
fn spin(time: Duration) -> u64 {
    let begun = Instant::now();
    let mut sum = 0_u64;
    while begun.elapsed() < time {
        sum = sum.wrapping_mul(31).wrapping_add(1);
    }
    sum
}

#[task(name = "test.spin")]
fn blocking(milliseconds: u64) -> TaskResult<u64> {
    Ok(spin(Duration::from_millis(milliseconds)))
}

#[task(name = "test.spin_async")]
async fn hogging(milliseconds: u64) -> TaskResult<u64> {
    Ok(spin(Duration::from_millis(milliseconds)))
}

/// Returns the connections of this test's virtual host. RabbitMQ lists them with a delay.
async fn connections(bed: &Bed) -> BTreeSet<String> {
    let (management, vhost) = bed.management();
    let names = async || management.connections(vhost).await.into_iter().collect::<BTreeSet<_>>();
    eventually("both connections are listed", names, |names| names.len() == 2).await
}

// On one thread, as in a program without a multi-threaded runtime.
#[celeriac_tests::test(real)]
async fn blocking_tasks_that_take_every_processor_do_not_end_the_connection(bed: Bed) {
    let program = bed.program(tasks![blocking]).set("broker.heartbeat", "2s").set("worker.concurrency", "8");
    let running = bed.start(program).await;
    blocking(1).submit(&running.client).await.unwrap().get().await.unwrap();
    let before = connections(&bed).await;
    let calls = (0..8).map(|_| blocking(10_000));
    for sent in running.client.submit_many(calls).await {
        sent.unwrap().get().await.unwrap();
    }
    assert_eq!(connections(&bed).await, before, "a connection was lost and made again");
}

#[celeriac_tests::test(real)]
async fn asynchronous_tasks_that_compute_without_giving_way_do_not_end_the_connection(bed: Bed) {
    let program = bed.program(tasks![hogging]).set("broker.heartbeat", "1s").set("worker.concurrency", "1");
    let running = bed.start(program).await;
    hogging(1).submit(&running.client).await.unwrap().get().await.unwrap();
    let before = connections(&bed).await;
    // Half a second repeatedly, and then longer than the broker waits for heartbeats.
    let calls = (0..16).map(|number| hogging(if number == 15 { 4_000 } else { 500 }));
    for sent in running.client.submit_many(calls).await {
        sent.unwrap().get().await.unwrap();
    }
    assert_eq!(connections(&bed).await, before, "a connection was lost and made again");
}
