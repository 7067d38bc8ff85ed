//! Cases of the reply queue of a process.

use celeriac_topology::dead_letter_queue;

use super::stage::{Stage, body, next, text};
use crate::broker::Consumer;
use crate::error::{Error, Result};

async fn replies(stage: &Stage) -> (String, Consumer) {
    let queue = stage.name("replies");
    let consumer = stage.broker.replies(&queue).await.unwrap();
    (queue, consumer)
}

async fn sent(stage: &Stage, queue: &str) -> Result<()> {
    stage.publish("", queue, text("late")).await
}

fn is_nowhere(sent: &Result<()>) -> bool {
    matches!(sent, Err(Error::Unroutable { .. }))
}

pub(super) async fn a_queue_for_replies_takes_what_is_sent_to_its_name(stage: &Stage) {
    let (queue, mut consumer) = replies(stage).await;
    assert_eq!(**consumer.queue(), queue);
    let numbers: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let sending = async {
        for number in &numbers {
            stage.send(&queue, &[number]).await;
        }
    };
    let taking = async {
        for number in &numbers {
            let delivery = next(&mut consumer).await;
            assert_eq!(body(&delivery), *number);
            delivery.settlement.ack();
        }
    };
    tokio::join!(sending, taking);
    consumer.close().await;
}

pub(super) async fn a_reply_that_is_requeued_comes_again(stage: &Stage) {
    let (queue, mut consumer) = replies(stage).await;
    stage.send(&queue, &["1"]).await;
    next(&mut consumer).await.settlement.requeue();
    let again = next(&mut consumer).await;
    assert_eq!((body(&again).as_str(), again.origin.redelivered), ("1", true));
    again.settlement.ack();
    consumer.close().await;
}

pub(super) async fn a_reply_that_is_rejected_is_gone(stage: &Stage) {
    let (queue, mut consumer) = replies(stage).await;
    stage.send(&queue, &["1", "2"]).await;
    next(&mut consumer).await.settlement.reject();
    let second = next(&mut consumer).await;
    assert_eq!(body(&second), "2");
    second.settlement.ack();
    let dead = sent(stage, &dead_letter_queue(&queue)).await;
    assert!(is_nowhere(&dead), "{dead:?}");
    consumer.close().await;
}

pub(super) async fn a_queue_for_replies_goes_with_its_consumer(stage: &Stage) {
    let (queue, mut consumer) = replies(stage).await;
    stage.send(&queue, &["taken", "left"]).await;
    let taken = next(&mut consumer).await;
    taken.settlement.ack();
    consumer.close().await;
    let late = sent(stage, &queue).await;
    assert!(is_nowhere(&late), "{late:?}");

    let (_, mut consumer) = replies(stage).await;
    stage.send(&queue, &["new"]).await;
    let new = next(&mut consumer).await;
    assert_eq!(body(&new), "new");
    new.settlement.ack();
    consumer.close().await;
}

pub(super) async fn a_closed_broker_takes_no_replies(stage: &Stage) {
    let (_, mut consumer) = replies(stage).await;
    stage.broker.close().await;
    assert!(consumer.next().await.is_none());
    let refused = stage.broker.replies(&stage.name("others")).await;
    assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
}

pub(super) async fn a_name_that_is_taken_is_refused_for_replies(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let refused = stage.broker.replies(&queue).await;
    assert!(matches!(refused, Err(Error::Mismatch { .. })), "{refused:?}");
    stage.send(&queue, &["still there"]).await;
    assert_eq!(stage.drain(&queue).await, ["still there"]);
}
