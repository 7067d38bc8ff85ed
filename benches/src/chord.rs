//! A group of tasks that return a number, and a chord of them: submitted to a worker that runs them
//! meanwhile.

use anyhow::{Result, ensure};
use celeriac::prelude::*;
use celeriac::{ChordHandle, Group, Shutdown};

use crate::Servers;
use crate::messages::Stage;
use crate::ours::{Counter, builder, declare, delete};
use crate::sample::{Sample, Watch};

/// A member.
#[task(name = "bench.number")]
async fn number(ctx: TaskContext, number: u64) -> TaskResult<u64> {
    ctx.state::<Counter>()?.count();
    Ok(number)
}

/// The body of the chord.
#[task(name = "bench.sum")]
async fn sum(ctx: TaskContext, numbers: Vec<u64>) -> TaskResult<u64> {
    ctx.state::<Counter>()?.count();
    Ok(numbers.iter().sum())
}

fn members(count: usize) -> Group {
    (0..count).map(|number| Signature::new("bench.number").arg(number)).collect()
}

/// Runs a group: plain tasks, whose results are recorded.
pub(crate) async fn group(servers: &Servers, stage: &Stage, count: usize) -> Result<Sample> {
    run(servers, stage, count, count, async |client| {
        members(count).submit(client).await?;
        Ok(None)
    })
    .await
}

/// Runs a chord of as many members.
pub(crate) async fn chord(servers: &Servers, stage: &Stage, count: usize) -> Result<Sample> {
    run(servers, stage, count, count + 1, async |client| {
        Ok(Some(members(count).then(Signature::new("bench.sum")).submit(client).await?))
    })
    .await
}

/// Submits while a worker runs, until `runs` tasks have run and all is recorded and acknowledged.
async fn run(
    servers: &Servers,
    stage: &Stage,
    count: usize,
    runs: usize,
    submit: impl AsyncFnOnce(&Client) -> Result<Option<ChordHandle>>,
) -> Result<Sample> {
    declare(servers, stage).await?;
    let counter = Counter::of(runs);
    let app = builder(servers, stage, true).tasks(tasks![number, sum]).shared(counter.clone()).build()?;
    let client = app.client().await?;
    let worker = app.worker(client.clone())?;
    let shutdown = Shutdown::new();
    let watch = Watch::start()?;
    let (ran, chord) = tokio::join!(worker.run_until(shutdown.clone()), async {
        let chord = submit(&client).await;
        if chord.is_ok() {
            counter.all_run().await;
        }
        shutdown.request();
        chord
    });
    let sample = watch.stop(count)?;
    ensure!(ran?.blocking_tasks_left == 0, "a task has not ended");
    if let Some(chord) = chord? {
        let (sum, expected) = (chord.get().await?, (0..count).sum::<usize>());
        ensure!(sum.as_u64() == u64::try_from(expected).ok(), "the body returned {sum} and not {expected}");
    }
    client.close().await;
    delete(servers, stage).await?;
    Ok(sample)
}
