//! A task that crashes its worker is quarantined, and no other task is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use celeriac::Builder;
use celeriac::DynamicCall;
use celeriac::prelude::*;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Program, assert_outcome};

use crate::command_line::run;

fn taking(task: &str, milliseconds: i64) -> DynamicCall {
    let body = Body { args: vec![Value::Int(milliseconds)], ..Body::default() };
    DynamicCall { task: task.to_owned(), body, options: CallOptions::default() }
}

fn begun(journal: &Path, id: &str) -> usize {
    let lines = std::fs::read_to_string(journal).unwrap_or_default();
    lines.lines().filter(|line| *line == format!("{id} begun")).count()
}

/// Starts a worker each time the last one has died, until `done`. Returns the number of deaths.
async fn supervise(variables: &[(&str, String)], done: impl AsyncFn() -> bool) -> usize {
    let supervised = tokio::time::timeout(Duration::from_secs(120), keep_running(variables, done));
    supervised.await.unwrap_or_else(|_| panic!("something never comes to an end"))
}

async fn keep_running(variables: &[(&str, String)], done: impl AsyncFn() -> bool) -> usize {
    let mut deaths = 0;
    loop {
        let mut worker = Program::start(&["worker", "-l", "warn", "-c", "8"], variables);
        let is_done = async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = worker.ended() => deaths += 1,
            () = is_done => {
                worker.says("  tasks").await;
                worker.signal("TERM");
                assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
                return deaths;
            }
        }
    }
}

#[celeriac_tests::test(real)]
async fn what_brings_its_worker_down_is_quarantined_and_its_neighbours_end(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let own = [("CELERIAC__WORKER__CRASH_LIMIT", "3".to_owned()), ("JOURNAL", journal.to_string_lossy().into_owned())];
    let variables = [&bed.environment()[..], &own].concat();
    let client = bed.client(bed.program([])).await;
    let poison = client.submit_dynamic(taking("test.abort", 50)).await.unwrap();
    // This many tasks run beside it. As many again are held and have not started.
    let mut neighbours = Vec::new();
    for _ in 0..14 {
        neighbours.push(client.submit_dynamic(taking("test.rest", 300)).await.unwrap());
    }
    let all = async || {
        let mut ended = poison.ready().await.unwrap();
        for neighbour in &neighbours {
            ended &= neighbour.ready().await.unwrap();
        }
        ended
    };
    let deaths = supervise(&variables, all).await;
    assert_eq!((deaths, begun(&journal, poison.id())), (3, 3));
    let row = poison.record().await.unwrap().unwrap();
    let failure = row.failure.unwrap();
    assert_eq!((row.state, row.attempts, failure.kind.as_str()), (TaskState::Failure, 1, "WorkerLostError"));
    let suspects = "SELECT count(*) FROM celeriac.suspects";
    let suspects = async || sqlx::query_scalar::<_, i64>(suspects).fetch_one(&mut bed.database().await).await.unwrap();
    eventually("nobody is suspected any more", suspects, |suspects| *suspects == 0).await;
    assert!(failure.message.contains("3 times"), "{}", failure.message);
    for neighbour in &neighbours {
        assert!(neighbour.successful().await.unwrap());
    }
    let (code, said) = run(&["dead", "list", "--json"], &variables).await;
    assert!(code == 0 && said.contains("\"poison\"") && said.contains(poison.id()), "{said}");
    let held = "SELECT count(*) FROM celeriac.suspects WHERE id <> $1";
    let held: i64 = sqlx::query_scalar(held).bind(poison.id()).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(held, 0);

    // A replayed task has as many deliveries as the first time.
    let (code, said) = run(&["dead", "replay", "--id", poison.id(), "--yes"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let again = async || poison.record().await.unwrap().is_some_and(|row| row.replays == 1 && row.state.is_final());
    assert_eq!(supervise(&variables, again).await, 3);
    assert_eq!(begun(&journal, poison.id()), 6);
}

/// Numbers of running and started tasks, and the signal that lets them end.
#[derive(Debug, Default)]
struct World {
    running: AtomicUsize,
    most: AtomicUsize,
    begun: AtomicUsize,
    open: AtomicBool,
}

/// Runs until it may end.
#[task(name = "p.wait")]
async fn wait(ctx: TaskContext) -> TaskResult<()> {
    let world = ctx.state::<World>()?;
    let _running = Counted::new(Arc::clone(&world));
    while !world.open.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[task(name = "p.quick")]
async fn quick() -> TaskResult<()> {
    Ok(())
}

struct Counted(Arc<World>);

impl Counted {
    fn new(world: Arc<World>) -> Self {
        world.begun.fetch_add(1, Ordering::Relaxed);
        let running = world.running.fetch_add(1, Ordering::Relaxed) + 1;
        world.most.fetch_max(running, Ordering::Relaxed);
        Self(world)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts a worker, and stops it after this many of its tasks have started. They return to the
/// queue.
async fn interrupt(bed: &Bed, program: Builder, world: &World, count: usize) {
    let before = world.begun.load(Ordering::Relaxed);
    let running = bed.start(program).await;
    let begun = async || world.begun.load(Ordering::Relaxed) - before;
    eventually("they have begun", begun, |begun| *begun == count).await;
    running.stop().await;
}

/// A task that was interrupted by orderly stops more often than its crash limit, before it crashes
/// its worker.
async fn interrupted_often(bed: &Bed, world: &Arc<World>) -> (Builder, TaskHandle<()>) {
    let program = || {
        let program = bed.program(tasks![wait, quick]).shared(Arc::clone(world)).set("worker.drain_timeout", "10ms");
        program.set("worker.crash_limit", "2")
    };
    let client = bed.client(program()).await;
    let handle = wait().submit(&client).await.unwrap();
    for _ in 0..4 {
        interrupt(bed, program(), world, 1).await;
    }
    (program(), handle)
}

#[celeriac_tests::test]
async fn an_interruption_in_order_is_no_death(bed: Bed) {
    let world = Arc::new(World::default());
    let (program, handle) = interrupted_often(&bed, &world).await;
    world.open.store(true, Ordering::Relaxed);
    bed.start(program).await;
    assert_outcome!(handle, Success, attempts: 1);
}

#[celeriac_tests::test(real)]
async fn an_interruption_in_order_leaves_no_row_that_sql_reads(bed: Bed) {
    let _ = interrupted_often(&bed, &Arc::new(World::default())).await;
    let held = "SELECT count(*) FROM celeriac.suspects WHERE starts > 0";
    let held: i64 = sqlx::query_scalar(held).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(held, 0);
}

#[celeriac_tests::test(real)]
async fn who_is_suspected_a_second_time_runs_alone_and_holds_up_nobody_else(bed: Bed) {
    let world = Arc::new(World::default());
    let program = || {
        let program = bed.program(tasks![wait, quick]).shared(Arc::clone(&world)).set("worker.drain_timeout", "10ms");
        program.set("worker.concurrency", "4")
    };
    let client = bed.client(program()).await;
    let mut suspects = Vec::new();
    for _ in 0..4 {
        suspects.push(wait().submit(&client).await.unwrap());
    }
    interrupt(&bed, program(), &world, 4).await;
    assert_eq!(world.most.load(Ordering::Relaxed), 4);
    // A worker that died leaves such messages.
    let mark =
        "INSERT INTO celeriac.suspects (id, retries, replays, starts, waits, worker) VALUES ($1, 0, 0, 1, false, '')";
    for suspect in &suspects {
        sqlx::query(mark).bind(suspect.id()).execute(&mut bed.database().await).await.unwrap();
    }

    world.most.store(0, Ordering::Relaxed);
    bed.start(program()).await;
    eventually("one runs", async || world.running.load(Ordering::Relaxed), |running| *running == 1).await;
    // More tasks than slots, and more than the prefetch if waiting tasks counted.
    for _ in 0..8 {
        quick().submit(&client).await.unwrap().get().await.unwrap();
    }
    world.open.store(true, Ordering::Relaxed);
    for suspect in &suspects {
        suspect.get().await.unwrap();
    }
    assert_eq!(world.most.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn fewer_deliveries_than_two_are_refused_at_start() {
    let variables = [("CELERIAC__WORKER__CRASH_LIMIT", "1".to_owned())];
    let (code, said) = run(&["config", "check"], &variables).await;
    assert!(code == 78 && said.contains("WORKER__CRASH_LIMIT") && said.contains("at least 2"), "{said}");
}
