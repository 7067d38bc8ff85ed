//! Revoked tasks do not run, and terminated tasks end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Builder, Chain};
use celeriac_client::Error;
use celeriac_servers::{Durability, PostgresNode};
use celeriac_tests::{Bed, Running, assert_outcome, eventually};
use sqlx::{Connection, PgConnection};

use crate::command_line::run;

/// Tasks that ran, and the signal that lets waiting ones continue.
#[derive(Debug, Default)]
struct World {
    ran: Mutex<Vec<String>>,
    open: AtomicBool,
}

impl World {
    fn note(&self, what: &str, ctx: &TaskContext) {
        self.ran.lock().unwrap().push(format!("{what} {}", ctx.id()));
    }

    fn has(&self, what: &str, id: &str) -> bool {
        self.ran.lock().unwrap().contains(&format!("{what} {id}"))
    }

    async fn happens(&self, what: &str, id: &str) {
        eventually(what, async || self.has(what, id), |has| *has).await;
    }
}

/// Runs until it may continue, and then returns.
#[task(name = "v.gate")]
async fn gate(ctx: TaskContext) -> TaskResult<()> {
    let world = ctx.state::<World>()?;
    world.note("begun", &ctx);
    while !world.open.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[task(name = "v.quick")]
async fn quick(ctx: TaskContext) -> TaskResult<()> {
    ctx.state::<World>()?.note("begun", &ctx);
    Ok(())
}

#[task(name = "v.again", max_retries = 5, retry_backoff = "2s..2s")]
async fn again(ctx: TaskContext) -> TaskResult<()> {
    ctx.state::<World>()?.note("begun", &ctx);
    Err(TaskError::new("not yet"))
}

/// Ends at the signal, and is retried after a failure.
#[task(name = "v.polite", max_retries = 5, retry_backoff = "10ms..20ms")]
async fn polite(ctx: TaskContext) -> TaskResult<()> {
    let world = ctx.state::<World>()?;
    world.note("begun", &ctx);
    ctx.cancelled().await;
    world.note(if ctx.cancellation() == Some(celeriac::Cancellation::Terminated) { "told" } else { "stopped" }, &ctx);
    Err(TaskError::new("cancelled"))
}

/// Ends at the signal, with its work done.
#[task(name = "v.diligent")]
async fn diligent(ctx: TaskContext) -> TaskResult<u8> {
    ctx.state::<World>()?.note("begun", &ctx);
    ctx.cancelled().await;
    Ok(7)
}

/// Ignores the signal.
#[task(name = "v.deaf")]
async fn deaf(ctx: TaskContext) -> TaskResult<()> {
    ctx.state::<World>()?.note("begun", &ctx);
    std::future::pending().await
}

/// Blocks its thread until it may continue, whatever the signals.
#[task(name = "v.block")]
#[expect(clippy::disallowed_methods, reason = "a task that blocks is what is tested")]
fn block(ctx: TaskContext) -> TaskResult<()> {
    let world = ctx.state::<World>()?;
    world.note("begun", &ctx);
    while !world.open.load(Ordering::Relaxed) {
        if ctx.is_cancelled() && !world.has("told", ctx.id()) {
            world.note("told", &ctx);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    world.note("ended", &ctx);
    Ok(())
}

fn program(bed: &Bed, world: &Arc<World>) -> Builder {
    bed.program(tasks![gate, quick, again, polite, diligent, deaf, block])
        .shared(Arc::clone(world))
        .set("client.result_timeout", "40s")
        .set("worker.terminate_grace", "200ms")
}

/// A worker of these tasks, and its runs.
struct Observed {
    bed: Bed,
    world: Arc<World>,
    running: Running,
}

impl Observed {
    async fn start(bed: &Bed) -> Self {
        Self::with(bed, |program| program).await
    }

    /// Returns a worker that runs one task at a time, and holds many.
    async fn one_at_a_time(bed: &Bed) -> Self {
        Self::with(bed, |program| program.set("worker.concurrency", "1").set("worker.prefetch", "100")).await
    }

    async fn with(bed: &Bed, more: impl FnOnce(Builder) -> Builder) -> Self {
        let world = Arc::new(World::default());
        let running = bed.start(more(program(bed, &world))).await;
        Self { bed: bed.clone(), world, running }
    }

    fn client(&self) -> &Client {
        &self.running.client
    }

    /// Ends everything, and asserts that no message is left on a queue.
    async fn finish(self) {
        self.world.open.store(true, Ordering::Relaxed);
        self.running.stop().await;
        let peer = self.bed.peer().await;
        assert_eq!((peer.ready("celeriac").await, peer.ready("celeriac.dead").await), (0, 0));
    }
}

/// Asserts that the task was revoked, before or during its run.
async fn assert_revoked<T>(handle: &TaskHandle<T>, while_it_ran: bool)
where
    T: serde::de::DeserializeOwned,
{
    match handle.get().await.err() {
        Some(Error::Revoked { id, terminated }) => assert_eq!((id.as_str(), terminated), (handle.id(), while_it_ran)),
        other => panic!("{other:?}"),
    }
    let message = if while_it_ran { "terminated" } else { "revoked" };
    assert_outcome!(handle, Revoked, kind: "TaskRevokedError", message: message);
}

#[celeriac_tests::test]
async fn what_is_revoked_on_its_queue_does_not_run_on_a_worker_that_starts_later(bed: Bed) {
    let world = Arc::new(World::default());
    let client = bed.client(program(&bed, &world)).await;
    let handle = quick().submit(&client).await.unwrap();
    handle.revoke().await.unwrap();
    let kept = quick().submit(&client).await.unwrap();

    let running = bed.start(program(&bed, &world)).await;
    assert_revoked(&handle, false).await;
    kept.get().await.unwrap();
    assert!(!world.has("begun", handle.id()) && world.has("begun", kept.id()));
    running.stop().await;
    assert_eq!(bed.peer().await.ready("celeriac").await, 0);
}

#[celeriac_tests::test]
async fn what_a_worker_holds_and_has_not_begun_does_not_begin_once_revoke_has_returned(bed: Bed) {
    let worker = Observed::one_at_a_time(&bed).await;
    let first = gate().submit(worker.client()).await.unwrap();
    worker.world.happens("begun", first.id()).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(quick().submit(worker.client()).await.unwrap());
    }
    let peer = bed.peer().await;
    eventually("all are held", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    // Half of them together, and half of them one by one.
    worker.client().revoke(held[..25].iter().map(TaskHandle::id)).await.unwrap();
    futures::future::try_join_all(held[25..].iter().map(|handle| handle.revoke().into_future())).await.unwrap();
    worker.world.open.store(true, Ordering::Relaxed);
    for handle in &held {
        assert_revoked(handle, false).await;
        assert!(!worker.world.has("begun", handle.id()));
    }
    first.get().await.unwrap();
    worker.finish().await;
}

#[celeriac_tests::test]
async fn neither_a_delayed_task_nor_the_next_attempt_runs_once_revoked(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let later = quick().delay(Duration::from_secs(2)).submit(worker.client()).await.unwrap();
    let retried = again().submit(worker.client()).await.unwrap();
    let state = async || retried.status().await.unwrap();
    eventually("it waits for its next attempt", state, |state| *state == TaskState::Retry).await;
    worker.client().revoke([later.id(), retried.id()]).await.unwrap();
    assert_revoked(&later, false).await;
    assert_revoked(&retried, false).await;
    let begun = worker.world.ran.lock().unwrap().clone();
    assert_eq!(begun, [format!("begun {}", retried.id())]);
    worker.finish().await;
}

#[celeriac_tests::test]
async fn a_task_that_runs_goes_on_when_it_is_revoked_and_ends_when_it_is_terminated(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let (goes_on, ends) =
        (gate().submit(worker.client()).await.unwrap(), polite().submit(worker.client()).await.unwrap());
    worker.world.happens("begun", goes_on.id()).await;
    worker.world.happens("begun", ends.id()).await;
    worker.client().revoke([goes_on.id(), ends.id()]).await.unwrap();
    assert!(!worker.world.has("told", ends.id()));
    ends.terminate().await.unwrap();
    assert_revoked(&ends, true).await;
    assert!(worker.world.has("told", ends.id()));
    worker.world.open.store(true, Ordering::Relaxed);
    goes_on.get().await.unwrap();
    worker.finish().await;
}

#[celeriac_tests::test]
async fn a_task_that_does_not_end_by_itself_is_dropped_after_its_grace(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let handle = deaf().submit(worker.client()).await.unwrap();
    worker.world.happens("begun", handle.id()).await;
    handle.terminate().await.unwrap();
    assert_revoked(&handle, true).await;
    let row = handle.record().await.unwrap().unwrap();
    assert!(row.attempts == 1 && row.runtime.unwrap() >= Duration::from_millis(200), "{row:?}");
    worker.finish().await;
}

#[celeriac_tests::test]
async fn a_blocking_task_is_told_and_nobody_waits_for_it_after_its_grace(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let handle = block().submit(worker.client()).await.unwrap();
    worker.world.happens("begun", handle.id()).await;
    handle.terminate().await.unwrap();
    assert_revoked(&handle, true).await;
    assert!(worker.world.has("told", handle.id()) && !worker.world.has("ended", handle.id()));
    worker.world.open.store(true, Ordering::Relaxed);
    worker.world.happens("ended", handle.id()).await;
    worker.finish().await;
}

#[celeriac_tests::test]
async fn a_success_stays_whether_it_came_before_the_termination_or_after(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let before = quick().submit(worker.client()).await.unwrap();
    before.get().await.unwrap();
    let after = diligent().submit(worker.client()).await.unwrap();
    worker.world.happens("begun", after.id()).await;
    worker.client().revoke([before.id(), after.id()]).terminate().await.unwrap();
    assert_eq!(after.get().await.unwrap(), 7);
    assert_eq!(before.status().await.unwrap(), TaskState::Success);
    worker.finish().await;
}

#[celeriac_tests::test]
async fn the_steps_after_a_revoked_one_are_revoked_too(bed: Bed) {
    let world = Arc::new(World::default());
    let client = bed.client(program(&bed, &world)).await;
    let step = |name: &str| Signature::new("v.quick").option("task_id", name.to_owned());
    let chain = Chain::new(step("one")).then(step("two")).then(step("three")).submit(&client).await.unwrap();
    client.revoke(["one"]).await.unwrap();
    let running = bed.start(program(&bed, &world)).await;
    for id in ["one", "two", "three"] {
        assert_revoked(&client.handle::<()>(id), false).await;
    }
    assert_eq!(chain.id(), "three");
    running.stop().await;
    assert_eq!(*world.ran.lock().unwrap(), Vec::<String>::new());
}

#[celeriac_tests::test(real)]
async fn lost_connections_to_the_database_let_nothing_slip_through(bed: Bed) {
    let worker = Observed::one_at_a_time(&bed).await;
    let first = gate().submit(worker.client()).await.unwrap();
    worker.world.happens("begun", first.id()).await;
    let held = quick().submit(worker.client()).await.unwrap();
    let mut database = bed.database().await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let other = bed.client(bed.program([])).await;
    other.revoke([held.id()]).await.unwrap();
    worker.world.open.store(true, Ordering::Relaxed);
    assert_revoked(&held, false).await;
    assert!(!worker.world.has("begun", held.id()));
    other.close().await;
    worker.finish().await;
}

#[celeriac_tests::test(real)]
async fn a_worker_that_hears_nothing_from_the_database_begins_nothing(bed: Bed) {
    let world = Arc::new(World::default());
    // A server of its own, because one of its processes is stopped.
    let postgres = PostgresNode::start(Durability::Real).unwrap();
    let program = program(&bed, &world).set("results.url", postgres.url()).set("results.statement_timeout", "5s");
    let app = program.set("worker.concurrency", "1").set("worker.prefetch", "100").build().unwrap();
    let running = Running::start(&app).await;
    let first = gate().submit(&running.client).await.unwrap();
    world.happens("begun", first.id()).await;
    let held = quick().submit(&running.client).await.unwrap();

    let other = app.client().await.unwrap();
    let mut database = PgConnection::connect(&postgres.url()).await.unwrap();
    let listens = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT number, id, terminate%' LIMIT 1";
    let pid: i32 = sqlx::query_scalar(listens).fetch_one(&mut database).await.unwrap();
    signal("STOP", pid);
    other.revoke([held.id()]).await.unwrap();
    world.open.store(true, Ordering::Relaxed);
    assert_revoked(&held, false).await;
    assert!(!world.has("begun", held.id()));
    signal("CONT", pid);
    other.close().await;
    running.stop().await;
}

fn signal(name: &str, pid: i32) {
    let sent = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -s {name} {pid}");
}

#[celeriac_tests::test]
async fn without_a_store_nothing_can_be_revoked_and_the_error_says_so(bed: Bed) {
    for url in ["none", "rpc://"] {
        let client = bed.client(bed.program([]).set("results.url", url)).await;
        let refused = client.revoke(["a"]).await.unwrap_err();
        assert!(matches!(refused, Error::NoRevocations), "{refused:?}");
        assert_eq!(refused.help(), Some("set results.url to a Postgres or SQLite database"));
        client.close().await;
    }
}

#[celeriac_tests::test(real)]
async fn the_verb_result_says_whether_a_revoked_task_had_begun(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let handle = gate().submit(worker.client()).await.unwrap();
    worker.world.happens("begun", handle.id()).await;
    handle.terminate().await.unwrap();
    assert_revoked(&handle, true).await;
    let (code, said) = run(&["result", handle.id()], &bed.environment()).await;
    let told = said.contains("was terminated while it ran") && !said.contains("did not run");
    assert_eq!((code, told), (1, true), "{said}");
    worker.finish().await;
}

#[celeriac_tests::test(real)]
async fn the_verb_revokes_what_it_is_given(bed: Bed) {
    let world = Arc::new(World::default());
    let client = bed.client(program(&bed, &world)).await;
    let handles = [quick().submit(&client).await.unwrap(), quick().submit(&client).await.unwrap()];
    let variables = bed.environment();
    let line = ["revoke", handles[0].id(), handles[1].id(), "--terminate", "--for", "30d"];
    let (code, said) = run(&line, &variables).await;
    assert_eq!((code, said.contains("revoked 2 ids")), (0, true), "{said}");
    let lasts = "SELECT count(*) FROM celeriac.revocations
                 WHERE terminate AND until BETWEEN now() + '29 days' AND now() + '31 days'";
    let held: i64 = sqlx::query_scalar(lasts).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(held, 2);
    let running = bed.start(program(&bed, &world)).await;
    for handle in &handles {
        assert_revoked(handle, false).await;
    }
    running.stop().await;

    let (code, said) = run(&["revoke", "a", "--json"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(shown, serde_json::json!({"revoked": ["a"], "terminate": false}));
    let (code, said) = run(&["revoke"], &variables).await;
    assert_eq!(code, 2, "{said}");
}
