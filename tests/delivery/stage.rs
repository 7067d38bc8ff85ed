//! Tasks that record their arguments, and a worker that runs them.

use std::sync::{Arc, Mutex};

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac::{Failure, TaskRecord};
use celeriac_tests::peer::Found;
use celeriac_tests::{Bed, Peer, Running, eventually};
use serde_json::Value as Json;

/// A call of a task that records itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    /// The arguments: first those from the caller, then its own.
    pub(crate) given: (Json, Json),
    pub(crate) parent: Option<String>,
    pub(crate) root: String,
    pub(crate) group: Option<String>,
    pub(crate) index: Option<i64>,
    pub(crate) headers: Vec<(String, celeriac::protocol::Value)>,
}

impl Call {
    fn of(ctx: &TaskContext, given: (Json, Json)) -> Self {
        Self {
            id: ctx.id().to_owned(),
            given,
            parent: ctx.parent_id().map(str::to_owned),
            root: ctx.root_id().to_owned(),
            group: ctx.group().map(str::to_owned),
            index: ctx.group_index(),
            headers: ctx.headers().iter().map(|(name, value)| (name.to_owned(), value.clone())).collect(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&celeriac::protocol::Value> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// The calls so far, in the order of their runs.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Vec<Call>>);

/// Records its arguments.
#[task(name = "t.see")]
pub(crate) async fn see(ctx: TaskContext, given: Json, #[default(Json::Null)] own: Json) -> TaskResult<Json> {
    note(&ctx, &given, &own)?;
    Ok(given)
}

/// Adds.
#[task(name = "t.add")]
pub(crate) async fn add(a: i64, b: i64) -> TaskResult<i64> {
    Ok(a + b)
}

/// Fails at once.
#[task(name = "t.fail")]
pub(crate) async fn fail(given: Json) -> TaskResult<Json> {
    Err(TaskError::of_kind("ValueError", format!("no good: {given}")))
}

/// Succeeds at this attempt, of three.
#[task(name = "t.flaky", max_retries = 2, retry_backoff = "10ms..50ms")]
pub(crate) async fn flaky(ctx: TaskContext, succeeds_at: u32) -> TaskResult<u32> {
    note(&ctx, &Json::from(succeeds_at), &Json::Null)?;
    if ctx.attempt() < succeeds_at {
        return Err(TaskError::new(format!("attempt {} failed", ctx.attempt())));
    }
    Ok(ctx.attempt())
}

/// Sends another task.
#[task(name = "t.send")]
pub(crate) async fn send(ctx: TaskContext, given: Json) -> TaskResult<String> {
    Ok(see(given, Json::Null).submit(ctx.client()).await?.id().to_owned())
}

pub(crate) fn note(ctx: &TaskContext, given: &Json, own: &Json) -> TaskResult<()> {
    let call = Call::of(ctx, (given.clone(), own.clone()));
    ctx.state::<Seen>()?.0.lock().unwrap().push(call);
    Ok(())
}

/// A worker of these tasks, and a bare client.
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) peer: Peer,
    running: Running,
    seen: Arc<Seen>,
}

impl Stage {
    pub(crate) async fn start(bed: &Bed) -> Self {
        Self::with(bed, |program| program).await
    }

    pub(crate) async fn with(bed: &Bed, more: impl FnOnce(Builder) -> Builder) -> Self {
        let seen = Arc::new(Seen::default());
        let program = bed
            .program(tasks![see, add, fail, flaky, send])
            .set("client.result_timeout", "40s")
            .shared(Arc::clone(&seen));
        let running = bed.start(more(program)).await;
        // The queue exists from here on, for messages that are published without Celeriac.
        add(0, 0).submit(&running.client).await.unwrap().get().await.unwrap();
        Self { bed: bed.clone(), peer: bed.peer().await, running, seen }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.running.client
    }

    /// Returns the calls, once there are this many.
    pub(crate) async fn seen(&self, count: usize) -> Vec<Call> {
        let calls = async || self.seen.0.lock().unwrap().clone();
        eventually("the calls", calls, |calls| calls.len() >= count).await
    }

    /// Returns the row of a task, after its end.
    pub(crate) async fn row(&self, id: &str) -> TaskRecord {
        self.client().handle::<Json>(id).wait().await.unwrap()
    }

    /// Returns the state and the error of a task, after its end.
    pub(crate) async fn end(&self, id: &str) -> (TaskState, Option<Failure>) {
        let row = self.row(id).await;
        (row.state, row.failure)
    }

    /// Returns the messages on the dead-letter queue, once there are this many.
    pub(crate) async fn dead(&self, count: usize) -> Vec<Found> {
        self.taken("celeriac.dead", count).await
    }

    /// Returns the messages on a queue, once there are this many.
    pub(crate) async fn taken(&self, queue: &str, count: usize) -> Vec<Found> {
        let mut taken = Vec::new();
        let take = async || {
            taken.extend(self.peer.take_all(queue).await);
            taken.len()
        };
        eventually("messages", take, |taken| *taken >= count).await;
        taken
    }

    /// Stops the worker after all tasks have run, and returns every call.
    pub(crate) async fn finish(self) -> Vec<Call> {
        eventually("all is run", async || self.peer.ready("celeriac").await, |ready| *ready == 0).await;
        self.running.stop().await;
        assert_eq!(self.peer.ready("celeriac").await, 0, "all is acknowledged");
        std::mem::take(&mut *self.seen.0.lock().unwrap())
    }
}
