//! The same work with Celeriac's public API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use celeriac::Shutdown;
use celeriac::prelude::*;
use celeriac_config::Environment;
use futures::StreamExt;
use lapin::options::QueueDeleteOptions;
use tokio::sync::Notify;

use crate::Servers;
use crate::messages::{Messages, PREFETCH, Stage, WINDOW, connect, publish, waiting};
use crate::sample::{Sample, Watch};

/// Counts down the tasks that have yet to run.
#[derive(Debug)]
pub(crate) struct Counter {
    left: AtomicUsize,
    done: Notify,
}

impl Counter {
    pub(crate) fn of(tasks: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(tasks), done: Notify::new() })
    }

    /// Completes when all have run.
    pub(crate) async fn all_run(&self) {
        self.done.notified().await;
    }

    /// Counts a task that has run.
    pub(crate) fn count(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

/// The empty task.
#[task(name = "bench.nothing")]
pub(crate) async fn nothing(ctx: TaskContext) -> TaskResult<()> {
    ctx.state::<Counter>()?.count();
    Ok(())
}

/// Returns a program for one queue.
pub(crate) fn app(servers: &Servers, stage: &Stage, results: bool) -> Result<Celeriac> {
    Ok(builder(servers, stage, results).build()?)
}

pub(crate) fn builder(servers: &Servers, stage: &Stage, results: bool) -> celeriac::Builder {
    Celeriac::builder()
        .environment(Environment::default())
        .set("broker.url", servers.amqp.as_str())
        .set("broker.confirm_window", WINDOW.to_string())
        .set("results.url", if results { servers.database.as_str() } else { "none" })
        .set("queues", format!("{{\"{}\": {{type: {}}}}}", stage.queue, stage.kind))
        .set("default_queue", stage.queue.as_str())
        .set("worker.prefetch", PREFETCH.to_string())
        .set("worker.concurrency", "256")
        .tasks(tasks![nothing])
}

/// Declares the queue as Celeriac does. Both sides use the same.
pub(crate) async fn declare(servers: &Servers, stage: &Stage) -> Result<()> {
    let app = app(servers, stage, false)?;
    let client = app.client().await?;
    client.broker().declare(&app.settings().routes().topology()).await?;
    client.close().await;
    Ok(())
}

/// Deletes the queue, on a connection of its own.
///
/// RabbitMQ 3.10 sometimes ends the connection that deletes a full quorum queue with an internal
/// error. A queue that remains does no harm, because every round has a queue of its own.
pub(crate) async fn delete(servers: &Servers, stage: &Stage) -> Result<()> {
    let (connection, channel) = connect(servers).await?;
    for queue in [stage.queue.clone(), format!("{}.dead", stage.queue)] {
        let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
    }
    let _ = connection.close(200, "done".into()).await;
    Ok(())
}

/// Submits tasks in bulk.
pub(crate) async fn submit(servers: &Servers, stage: &Stage, count: usize) -> Result<Sample> {
    declare(servers, stage).await?;
    let client = app(servers, stage, false)?.client().await?;
    // The first call makes the connection.
    nothing().submit(&client).await?;
    let watch = Watch::start()?;
    let mut submitted = std::pin::pin!(client.submit_stream((0..count).map(|_| nothing())));
    while let Some(handle) = submitted.next().await {
        handle?;
    }
    let sample = watch.stop(count)?;
    client.close().await;
    delete(servers, stage).await?;
    Ok(sample)
}

/// Drains a queue of empty tasks. With `results`, every task has its row.
pub(crate) async fn drain(servers: &Servers, stage: &Stage, count: usize, results: bool) -> Result<Sample> {
    let program = builder(servers, stage, results);
    drain_with(servers, stage, Messages::empty(count), program, async || Ok(())).await
}

/// Drains a queue with a program. `flush` is part of the work.
pub(crate) async fn drain_with(
    servers: &Servers,
    stage: &Stage,
    messages: Messages,
    program: celeriac::Builder,
    flush: impl AsyncFnOnce() -> Result<()>,
) -> Result<Sample> {
    let count = messages.count;
    declare(servers, stage).await?;
    let (connection, channel) = connect(servers).await?;
    publish(&channel, &stage.queue, &messages).await?;
    let counter = Counter::of(count);
    let app = program.shared(Arc::clone(&counter)).build()?;
    let client = app.client().await?;
    let worker = app.worker(client.clone())?;
    let shutdown = Shutdown::new();
    let watch = Watch::start()?;
    // The end of the worker is part of the work: only then is everything recorded and acknowledged.
    let (ran, ()) = tokio::join!(worker.run_until(shutdown.clone()), async {
        counter.all_run().await;
        shutdown.request();
    });
    flush().await?;
    let sample = watch.stop(count)?;
    ensure!(ran?.blocking_tasks_left == 0, "a task has not ended");
    client.close().await;
    // RabbitMQ 3.10 requeues some messages of a busy quorum queue although it has counted their
    // acknowledgements, if the channel ends right after them; see docs/known-limits.md. These are
    // at most the last ones that were delivered.
    let left = usize::try_from(waiting(&channel, &stage.queue).await?)?;
    ensure!(left <= usize::from(PREFETCH).max(count / 20), "{left} of {count} tasks are left on the queue");
    connection.close(200, "done".into()).await?;
    delete(servers, stage).await?;
    Ok(sample)
}
