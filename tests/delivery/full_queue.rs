//! Tasks that send a message to the queue that delivered them, while that queue is full.

use std::sync::Arc;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Builder, Error as AnyError};
use celeriac_broker::Error as BrokerError;
use celeriac_client::Error as ClientError;
use celeriac_tests::Bed;
use celeriac_tests::wait::{eventually, eventually_within};
use tokio::sync::Semaphore;

/// Longest time of a message: RabbitMQ waits three minutes after a delayed one was refused.
const PATIENCE: Duration = Duration::from_secs(300);

/// Closed until the queue is full.
#[derive(Debug)]
struct Gate(Semaphore);

impl Gate {
    async fn pass(ctx: &TaskContext) -> TaskResult<()> {
        let gate = ctx.state::<Self>()?;
        drop(gate.0.acquire().await?);
        Ok(())
    }
}

/// Fails after the gate is open, and is tried again at once.
#[task(name = "full.fail", max_retries = 1, retry_backoff = "0s")]
async fn fail(ctx: TaskContext) -> TaskResult<()> {
    Gate::pass(&ctx).await?;
    Err(TaskError::new("no"))
}

/// Succeeds after the gate is open.
#[task(name = "full.first")]
async fn first(ctx: TaskContext) -> TaskResult<()> {
    Gate::pass(&ctx).await
}

/// Follows from another task.
#[task(name = "full.next")]
async fn next() -> TaskResult<()> {
    Ok(())
}

fn program(bed: &Bed, gate: &Arc<Gate>) -> Builder {
    bed.program(tasks![fail, first, next])
        .shared(Arc::clone(gate))
        .set("queues.celeriac.max_length", "10")
        .set("queues.celeriac.overflow", "reject-publish")
        .set("worker.concurrency", "2")
}

/// Sends calls until two run and the queue refuses more. Returns the handles.
async fn fill<T>(bed: &Bed, gate: &Arc<Gate>, submit: impl AsyncFn(&Client) -> Result<T, ClientError>) -> Vec<T> {
    let running = bed.start(program(bed, gate)).await;
    let mut sent = Vec::new();
    let peer = bed.peer().await;
    loop {
        match submit(&running.client).await {
            Ok(handle) => sent.push(handle),
            Err(ClientError::Send { source: BrokerError::Refused { .. }, .. }) => break,
            Err(error) => panic!("{}", AnyError::from(error)),
        }
        let taken = sent.len().min(2);
        let ready = (sent.len() - taken) as u32;
        eventually("the worker takes two", async || peer.ready("celeriac").await, |now| *now == ready).await;
    }
    sent
}

#[celeriac_tests::test]
async fn a_full_queue_takes_the_next_attempts_of_its_own_tasks(bed: Bed) {
    let gate = Arc::new(Gate(Semaphore::new(0)));
    let sent = fill(&bed, &gate, async |client| fail().submit(client).await).await;
    gate.0.add_permits(2);
    for handle in &sent {
        let failed = async || handle.record().await.unwrap().map(|row| (row.state, row.attempts));
        eventually_within(PATIENCE, "it fails twice", failed, |failed| *failed == Some((TaskState::Failure, 2))).await;
    }
}

#[celeriac_tests::test]
async fn a_full_queue_takes_the_follow_ups_of_its_own_tasks(bed: Bed) {
    let gate = Arc::new(Gate(Semaphore::new(0)));
    let chained = async |client: &Client| first().link(Signature::new("full.next").immutable()).submit(client).await;
    let sent = fill(&bed, &gate, chained).await;
    gate.0.add_permits(2);
    for handle in &sent {
        let ended = async || handle.record().await.unwrap().map(|row| row.state);
        eventually_within(PATIENCE, "it succeeds", ended, |ended| *ended == Some(TaskState::Success)).await;
    }
    let peer = bed.peer().await;
    eventually_within(PATIENCE, "every follow-up has run", async || peer.ready("celeriac").await, |ready| *ready == 0)
        .await;
}
