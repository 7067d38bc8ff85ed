//! A task that is delivered again after its outcome was recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use celeriac::prelude::*;
use celeriac_tests::{Bed, Peer, eventually};
use lapin::types::{AMQPValue, FieldTable};

/// Number of runs of the task.
#[derive(Default)]
struct Runs(AtomicU32);

#[task(name = "t.count")]
async fn count(ctx: TaskContext) -> TaskResult<u32> {
    Ok(ctx.state::<Runs>()?.0.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Publishes a copy of a task and takes it once, so that its next delivery is a redelivery.
///
/// A worker leaves such a message if it is killed between recording the outcome and the
/// acknowledgement.
async fn redeliver(peer: &Peer, id: &str) {
    let mut headers = FieldTable::default();
    headers.insert("task".into(), AMQPValue::LongString("t.count".into()));
    headers.insert("id".into(), AMQPValue::LongString(id.into()));
    let properties = lapin::BasicProperties::default()
        .with_headers(headers)
        .with_content_type("application/json".into())
        .with_delivery_mode(2);
    peer.put("celeriac", properties, b"[[],{},{}]").await;
    let give_back = async || peer.give_back("celeriac").await;
    eventually("the copy stands on the queue", give_back, |stood| *stood).await;
}

#[celeriac_tests::test]
async fn a_redelivery_after_a_recorded_success_is_not_a_second_run(bed: Bed) {
    let runs = Arc::new(Runs::default());
    let program = || bed.program(tasks![count]).shared(Arc::clone(&runs));
    let running = bed.start(program()).await;
    let handle = count().submit(&running.client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 1);
    let id = handle.id().to_owned();
    running.stop().await;

    let peer = bed.peer().await;
    redeliver(&peer, &id).await;
    redeliver(&peer, "of which nothing is recorded").await;
    let running = bed.start(program()).await;
    let other = running.client.handle::<u32>("of which nothing is recorded");
    assert_eq!(other.get().await.unwrap(), 2, "a redelivery whose outcome nobody recorded does run");
    running.stop().await;
    assert_eq!(peer.ready("celeriac").await, 0, "both are acknowledged");
    assert_eq!(runs.0.load(Ordering::Relaxed), 2);
}
