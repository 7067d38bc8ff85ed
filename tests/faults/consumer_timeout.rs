//! Tasks run for longer than RabbitMQ's `consumer_timeout`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac_servers::{RabbitNode, RabbitSpec};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Peer};
use tokio::time::sleep;

/// RabbitMQ's timeout.
const TIMEOUT: Duration = Duration::from_secs(6);

/// Run time of the long task.
const LONG: Duration = Duration::from_secs(25);

/// Run time of the tasks beside it: shorter than the timeout.
const SHORT: Duration = Duration::from_millis(2_500);

static LONG_RUNS: AtomicUsize = AtomicUsize::new(0);
static SHORT_RUNS: AtomicUsize = AtomicUsize::new(0);
static FOLLOW_UPS: AtomicUsize = AtomicUsize::new(0);

#[task(name = "timeout.long")]
async fn long() -> TaskResult<()> {
    LONG_RUNS.fetch_add(1, Ordering::Relaxed);
    sleep(LONG).await;
    Ok(())
}

#[task(name = "timeout.short")]
async fn short() -> TaskResult<()> {
    SHORT_RUNS.fetch_add(1, Ordering::Relaxed);
    sleep(SHORT).await;
    Ok(())
}

/// Runs for longer than its copy waits on the broker.
#[task(name = "timeout.follow")]
async fn follow() -> TaskResult<()> {
    FOLLOW_UPS.fetch_add(1, Ordering::Relaxed);
    sleep(SHORT).await;
    Ok(())
}

static STEPS: AtomicUsize = AtomicUsize::new(0);

#[task(name = "timeout.step")]
async fn step() -> TaskResult<()> {
    STEPS.fetch_add(1, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Starts a node that looks for deliveries without an acknowledgement twice a second.
fn node() -> RabbitNode {
    let config = vec![format!("consumer_timeout = {}", TIMEOUT.as_millis())];
    let node = RabbitSpec { config, ..RabbitSpec::default() }.start().unwrap();
    node.ctl(&["eval", "application:set_env(rabbit, channel_tick_interval, 500)."]).unwrap();
    node
}

fn program(bed: &Bed, node: &RabbitNode) -> Builder {
    let program = bed.program(tasks![long, short, follow, step]).set("broker.url", node.url());
    let program = program.set("broker.consumer_timeout", format!("{}s", TIMEOUT.as_secs()));
    program.set("worker.concurrency", "8")
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_task_that_outlasts_the_timeout_runs_once_and_so_do_its_neighbours(bed: Bed) {
    let node = node();
    for name in ["one", "two"] {
        bed.start(program(&bed, &node).set("worker.name", name).set("worker.crash_limit", "3")).await;
    }
    let client = bed.client(program(&bed, &node)).await;
    let call = long().link(Signature::new("timeout.follow").immutable());
    let handle = call.submit(&client).await.unwrap();

    let mut neighbours = Vec::new();
    while !handle.record().await.unwrap().is_some_and(|row| row.state.is_final()) {
        neighbours.push(short().submit(&client).await.unwrap());
        sleep(SHORT / 3).await;
    }
    for neighbour in &neighbours {
        neighbour.get().await.unwrap();
    }
    let followed = async || FOLLOW_UPS.load(Ordering::Relaxed);
    eventually("the follow-up has begun", followed, |begun| *begun > 0).await;
    let peer = Peer::connect(&node.url()).await;
    let left = async || running(&bed).await;
    eventually("no run is on record", left, |left| *left == 0).await;
    let row = handle.record().await.unwrap().unwrap();
    println!(
        "consumer timeout {TIMEOUT:?}, task {LONG:?}: it ran {} times, {} neighbours ran {} times, follow-ups {}, \
         ended {}, dead letters {}",
        LONG_RUNS.load(Ordering::Relaxed),
        neighbours.len(),
        SHORT_RUNS.load(Ordering::Relaxed),
        FOLLOW_UPS.load(Ordering::Relaxed),
        row.state,
        peer.ready("celeriac.dead").await,
    );
    assert_eq!((row.state, row.attempts), (TaskState::Success, 1));
    assert_eq!(LONG_RUNS.load(Ordering::Relaxed), 1, "the task");
    assert_eq!(SHORT_RUNS.load(Ordering::Relaxed), neighbours.len(), "its neighbours");
    assert_eq!(FOLLOW_UPS.load(Ordering::Relaxed), 1, "what follows from it");
    assert_eq!(peer.ready("celeriac.dead").await, 0);
}

/// Returns the number of attempts that are on record as running or as suspects.
async fn running(bed: &Bed) -> i64 {
    let rows = "SELECT (SELECT count(*) FROM celeriac.runs) + (SELECT count(*) FROM celeriac.suspects)";
    sqlx::query_scalar(rows).fetch_one(&mut bed.database().await).await.unwrap()
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_that_wait_in_the_worker_for_longer_than_the_timeout_run_once(bed: Bed) {
    const COUNT: usize = 16;
    let node = node();
    let client = bed.client(program(&bed, &node)).await;
    bed.start(program(&bed, &node).set("worker.concurrency", "1").set("worker.prefetch", "32")).await;
    let mut sent = Vec::new();
    for _ in 0..COUNT {
        sent.push(step().submit(&client).await.unwrap());
    }
    for handle in &sent {
        handle.get().await.unwrap();
    }
    println!(
        "consumer timeout {TIMEOUT:?}, {COUNT} tasks of 1 s in turn: they ran {} times",
        STEPS.load(Ordering::Relaxed)
    );
    assert_eq!(STEPS.load(Ordering::Relaxed), COUNT);
}

static BESIDE: AtomicUsize = AtomicUsize::new(0);
static MOST_BESIDE: AtomicUsize = AtomicUsize::new(0);

/// Counts the runs at once.
#[task(name = "timeout.beside")]
async fn beside() -> TaskResult<()> {
    MOST_BESIDE.fetch_max(BESIDE.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
    sleep(SHORT).await;
    BESIDE.fetch_sub(1, Ordering::Relaxed);
    Ok(())
}

#[celeriac_tests::test]
async fn no_more_tasks_run_at_once_than_the_prefetch_although_their_messages_have_returned(bed: Bed) {
    let program = || bed.program(tasks![beside]).set("broker.consumer_timeout", "2s");
    let client = bed.client(program()).await;
    let calls: Vec<_> = (0..4).map(|_| beside()).collect();
    let sent = client.submit_many(calls).await;
    bed.start(program().set("worker.concurrency", "4").set("worker.prefetch", "1")).await;
    for handle in sent {
        handle.unwrap().get().await.unwrap();
    }
    assert_eq!(MOST_BESIDE.load(Ordering::Relaxed), 1);
}

/// Declared here. The test program runs it.
#[task(name = "test.rest")]
async fn rest(milliseconds: u64) -> u64;

#[celeriac_tests::test(real)]
async fn a_task_whose_worker_dies_after_its_message_has_returned_runs_again(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let timeout = [("CELERIAC__BROKER__CONSUMER_TIMEOUT", "4s".to_owned())];
    let worker = |name| bed.process_with(&["worker", "-n", name], &timeout);
    let mut first = worker("first");
    first.says("  tasks").await;
    let handle = rest(10_000).submit(&client).await.unwrap();
    first.says("running task returned").await;
    let mut second = worker("second");
    second.says("  tasks").await;
    first.kill().await;
    // The lease of a dead worker lasts for a minute.
    let ended = "UPDATE celeriac.runs SET expires_at = now() WHERE worker = 'first'";
    sqlx::query(ended).execute(&mut bed.database().await).await.unwrap();

    let row = async || handle.record().await.unwrap().map(|row| (row.state, row.attempts, row.worker.to_string()));
    let expected = Some((TaskState::Success, 1, "second".to_owned()));
    eventually("the other worker has run it", row, |row| *row == expected).await;
    eventually("no run is on record", async || running(&bed).await, |left| *left == 0).await;
    second.signal("TERM");
    assert_eq!(second.exit_code(Duration::from_secs(40)).await, 0, "{}", second.output());
    assert_eq!(bed.peer().await.ready("celeriac.dead").await, 0);
}
