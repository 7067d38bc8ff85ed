//! Cases of several consumers of a queue, and of the end of a consumer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::stage::{Stage, body, next};
use crate::broker::Subscription;
use crate::error::Error;

/// Time to wait for a message before another consumer is checked.
const MOMENT: Duration = Duration::from_millis(50);

pub(super) async fn messages_beyond_the_prefetch_are_left_to_others(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3"]).await;
    let mut one = stage.consume(&queue, 2).await;
    let held = [next(&mut one).await, next(&mut one).await];
    assert_eq!(held.each_ref().map(body), ["1", "2"]);

    let mut other = stage.consume(&queue, 1).await;
    let third = next(&mut other).await;
    assert_eq!(body(&third), "3");

    stage.send(&queue, &["4"]).await;
    let [first, second] = held;
    first.settlement.ack();
    let fourth = next(&mut one).await;
    assert_eq!(body(&fourth), "4");
    for delivery in [second, third, fourth] {
        delivery.settlement.ack();
    }
    one.close().await;
    other.close().await;
}

pub(super) async fn two_consumers_share_a_queue(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let (mut one, mut other) = (stage.consume(&queue, 1).await, stage.consume(&queue, 1).await);
    stage.send(&queue, &["a", "b"]).await;
    let (first, second) = (next(&mut one).await, next(&mut other).await);
    let mut bodies = [body(&first), body(&second)];
    bodies.sort_unstable();
    assert_eq!(bodies, ["a", "b"]);
    first.settlement.ack();
    second.settlement.ack();
    one.close().await;
    other.close().await;
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn a_consumer_of_a_missing_queue_is_an_error(stage: &Stage) {
    let missing = stage.name("missing");
    let subscription =
        Subscription { queue: missing.clone(), prefetch: 1, most: 1, priority: 0, tag: stage.name("consumer") };
    let refused = stage.broker.consume(subscription).await;
    assert!(matches!(&refused, Err(Error::NoSuchQueue { queue }) if *queue == missing), "{refused:?}");
}

pub(super) async fn a_raised_prefetch_brings_what_waited(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3", "4"]).await;
    let mut consumer = stage.consume(&queue, 1).await;
    let first = next(&mut consumer).await;
    consumer.set_prefetch(4);
    let mut held = vec![first];
    while held.len() < 4 {
        held.push(next(&mut consumer).await);
    }
    assert_eq!(held.iter().map(body).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    held.into_iter().for_each(|delivery| delivery.settlement.ack());
    consumer.close().await;
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn a_lowered_prefetch_leaves_the_rest_to_others(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3", "4", "5", "6"]).await;
    let mut one = stage.consume(&queue, 6).await;
    let first = next(&mut one).await;
    let mut other = stage.consume(&queue, 10).await;
    one.set_prefetch(1);
    let mut seen = Vec::new();
    // One of the other messages stays with the first consumer, which may get one more under its new
    // prefetch.
    while seen.len() < 3 {
        // A message that arrived after the first requeue is requeued now.
        one.give_back(1);
        let Ok(delivery) = timeout(MOMENT, other.next()).await else { continue };
        let delivery = delivery.unwrap();
        seen.push(body(&delivery));
        delivery.settlement.ack();
    }
    seen.push(body(&first));
    first.settlement.ack();
    one.close().await;
    other.close().await;
    seen.extend(stage.drain(&queue).await);
    assert_eq!(sorted(seen), ["1", "2", "3", "4", "5", "6"]);
}

pub(super) async fn a_consumer_that_stops_while_it_changes_loses_nothing(stage: &Stage) {
    let queue = stage.queue("queue").await;
    for turns in 0..6 {
        stage.send(&queue, &["1", "2", "3", "4", "5", "6"]).await;
        let mut consumer = stage.consume(&queue, 2).await;
        let first = next(&mut consumer).await;
        consumer.set_prefetch(4);
        // The consumer stops at a different point of the change each time.
        for _ in 0..turns * 4 {
            tokio::task::yield_now().await;
        }
        let mut seen = vec![body(&first)];
        tokio::join!(consumer.close(), async { first.settlement.ack() });
        seen.extend(stage.drain(&queue).await);
        assert_eq!(sorted(seen), ["1", "2", "3", "4", "5", "6"], "after {turns} turns");
    }
}

pub(super) async fn a_stopped_consumer_ends_after_what_has_arrived(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let mut consumer = stage.consume(&queue, 10).await;
    stage.send(&queue, &["before"]).await;
    let before = next(&mut consumer).await;
    let consuming = consumer.consuming();
    consumer.stop();
    while let Some(arrived) = consumer.next().await {
        arrived.settlement.requeue();
    }
    // A stopped consumer still settles its deliveries.
    before.settlement.ack();
    consumer.close().await;
    assert!(!*consuming.borrow());
    stage.send(&queue, &["after"]).await;
    assert_eq!(stage.drain(&queue).await, ["after"]);
}

pub(super) async fn a_closing_consumer_waits_for_settlements(stage: &Stage) {
    let (queue, other) = (stage.queue("queue").await, stage.queue("other").await);
    let mut consumer = stage.consume(&queue, 1).await;
    stage.send(&queue, &["slow"]).await;
    let delivery = next(&mut consumer).await;
    let settled = AtomicBool::new(false);
    let closing = async {
        consumer.close().await;
        assert!(settled.load(Ordering::SeqCst), "closed before its delivery was settled");
    };
    let settling = async {
        // Several round trips to the broker: a consumer that did not wait would have closed.
        for _ in 0..5 {
            stage.send(&other, &["meanwhile"]).await;
            assert_eq!(stage.drain(&other).await, ["meanwhile"]);
        }
        settled.store(true, Ordering::SeqCst);
        delivery.settlement.ack();
    };
    tokio::join!(closing, settling);
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn deliveries_that_a_closed_consumer_did_not_take_are_requeued(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3"]).await;
    let mut consumer = stage.consume(&queue, 10).await;
    let first = next(&mut consumer).await;
    assert_eq!(body(&first), "1");
    first.settlement.ack();
    consumer.close().await;
    assert_eq!(sorted(stage.drain(&queue).await), ["2", "3"]);
}

pub(super) async fn deliveries_that_a_dropped_consumer_did_not_settle_are_requeued(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3"]).await;
    let mut consumer = stage.consume(&queue, 10).await;
    let first = next(&mut consumer).await;
    drop(consumer);
    drop(first);
    let mut another = stage.consume(&queue, 10).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let delivery = next(&mut another).await;
        bodies.push(body(&delivery));
        delivery.settlement.ack();
    }
    another.close().await;
    assert_eq!(sorted(bodies), ["1", "2", "3"]);
}

/// Sorts the bodies, because messages that return after a consumer has ended may follow later ones.
fn sorted(mut bodies: Vec<String>) -> Vec<String> {
    bodies.sort_unstable();
    bodies
}
