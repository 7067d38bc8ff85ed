//! Cases of browsing a queue, and of removing messages from it.

use std::time::Duration;

use celeriac_topology::{QueueKind, QueueOptions};
use tokio::time::timeout;

use super::stage::{Stage, next, text};
use crate::browse::Browser;
use crate::error::Error;

/// More messages than several windows of RabbitMQ's browser hold.
const MANY: usize = 700;

async fn shown(browser: &mut Box<dyn Browser>) -> Option<String> {
    let browsed = timeout(Duration::from_secs(10), browser.next()).await.unwrap().unwrap()?;
    Some(String::from_utf8(browsed.message.body.to_vec()).unwrap())
}

async fn all_shown(browser: &mut Box<dyn Browser>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(body) = shown(browser).await {
        all.push(body);
    }
    all
}

async fn fill(stage: &Stage, queue: &str) -> Vec<String> {
    let bodies: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    stage.send(queue, &bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    bodies
}

pub(super) async fn browsing_changes_nothing(stage: &Stage) {
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        let queue = stage.queue_with(kind.name(), QueueOptions { kind, ..QueueOptions::default() }).await;
        let bodies = fill(stage, &queue).await;
        for _ in 0..2 {
            let mut browser = stage.broker.browse(&queue).await.unwrap();
            assert_eq!(browser.ready(), MANY as u64);
            assert_eq!(all_shown(&mut browser).await, bodies);
            browser.close().await.unwrap();
        }
        assert_eq!(stage.drain(&queue).await, bodies, "{kind:?}");
    }
}

pub(super) async fn browsing_that_ends_early_returns_all_messages(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let bodies = fill(stage, &queue).await;
    let mut browser = stage.broker.browse(&queue).await.unwrap();
    for body in &bodies[..100] {
        assert_eq!(shown(&mut browser).await.as_ref(), Some(body));
    }
    browser.close().await.unwrap();
    assert_eq!(stage.drain(&queue).await, bodies);
}

pub(super) async fn a_dropped_browser_returns_all_messages(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3"]).await;
    let mut browser = stage.broker.browse(&queue).await.unwrap();
    shown(&mut browser).await.unwrap();
    drop(browser);
    let mut consumer = stage.consume(&queue, 10).await;
    for _ in 0..3 {
        next(&mut consumer).await.settlement.ack();
    }
    consumer.close().await;
}

pub(super) async fn removed_messages_are_gone_and_the_rest_keeps_its_order(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let bodies = fill(stage, &queue).await;
    let mut browser = stage.broker.browse(&queue).await.unwrap();
    let mut kept = Vec::new();
    for (number, body) in bodies.into_iter().enumerate() {
        assert_eq!(shown(&mut browser).await.as_ref(), Some(&body));
        if number % 3 == 0 {
            browser.remove();
            // The message is removed already.
            browser.remove();
        } else {
            kept.push(body);
        }
    }
    browser.removed().await.unwrap();
    browser.close().await.unwrap();
    assert_eq!(stage.drain(&queue).await, kept);
}

pub(super) async fn browsing_ends_at_the_tail_of_its_start(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2"]).await;
    let mut browser = stage.broker.browse(&queue).await.unwrap();
    stage.send(&queue, &["late"]).await;
    assert_eq!(all_shown(&mut browser).await, ["1", "2"]);
    browser.close().await.unwrap();
    assert_eq!(stage.drain(&queue).await, ["1", "2", "late"]);
}

pub(super) async fn browsing_ends_although_a_consumer_takes_messages(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3"]).await;
    let mut browser = stage.broker.browse(&queue).await.unwrap();
    let mut consumer = stage.consume(&queue, 3).await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(next(&mut consumer).await);
    }
    assert_eq!(browser.ready(), 3);
    assert_eq!(all_shown(&mut browser).await, [""; 0]);
    browser.close().await.unwrap();
    taken.into_iter().for_each(|delivery| delivery.settlement.ack());
    consumer.close().await;
}

pub(super) async fn browsing_large_messages_holds_few_of_them(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let body = |number: u8| vec![number; 3 * 1024 * 1024];
    for number in 0..8 {
        let message = celeriac_protocol::Message { body: body(number).into(), ..text("") };
        stage.publish("", &queue, message).await.unwrap();
    }
    let mut browser = stage.broker.browse(&queue).await.unwrap();
    for number in 0..8 {
        let browsed = browser.next().await.unwrap().unwrap();
        assert!(browsed.message.body == body(number), "message {number} is another, or a part");
    }
    browser.close().await.unwrap();
}

pub(super) async fn browsing_a_missing_queue_is_an_error(stage: &Stage) {
    let queue = stage.name("missing");
    let error = stage.broker.browse(&queue).await.map(drop).unwrap_err();
    assert!(matches!(&error, Error::NoSuchQueue { queue: named } if *named == queue), "{error}");
}
