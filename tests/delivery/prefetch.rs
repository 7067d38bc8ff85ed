//! Prefetch of a worker with `prefetch: auto`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use celeriac::prelude::*;
use celeriac_tests::{Bed, Running, eventually};
use tokio::sync::watch;

/// State of the tasks of one worker: they record their numbers, and end when the gate opens.
#[derive(Debug)]
struct Gate {
    open: watch::Sender<bool>,
    begun: Mutex<Vec<u64>>,
}

impl Gate {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self { open: watch::Sender::new(open), begun: Mutex::default() })
    }

    fn begun(&self) -> usize {
        self.begun.lock().unwrap().len()
    }
}

/// Runs while its worker's gate is closed.
#[task(name = "t.pass")]
async fn pass(ctx: TaskContext, number: u64) -> TaskResult<()> {
    let gate = ctx.state::<Gate>()?;
    gate.begun.lock().unwrap().push(number);
    gate.open.subscribe().wait_for(|open| *open).await?;
    Ok(())
}

/// Number of tasks that a worker runs at once in these tests.
const SLOTS: usize = 4;

async fn worker(bed: &Bed, gate: &Arc<Gate>) -> Running {
    let program = bed.program(tasks![pass]).set("worker.concurrency", SLOTS.to_string()).shared(Arc::clone(gate));
    bed.start(program).await
}

async fn submit(client: &Client, numbers: std::ops::Range<u64>) {
    for sent in client.submit_many(numbers.map(|number| pass(number).ignore_result())).await {
        sent.unwrap();
    }
}

/// Returns every number that has started on any worker, with its count.
fn begun(gates: &[&Gate]) -> BTreeMap<u64, usize> {
    let mut begun = BTreeMap::new();
    for gate in gates {
        for number in gate.begun.lock().unwrap().iter() {
            *begun.entry(*number).or_default() += 1;
        }
    }
    begun
}

#[celeriac_tests::test(threads = 2)]
async fn a_worker_that_starts_later_finds_tasks_to_run(bed: Bed) {
    let (one, other) = (Gate::new(false), Gate::new(false));
    let client = bed.client(bed.program([])).await;
    submit(&client, 0..40).await;
    let peer = bed.peer().await;

    let first = worker(&bed, &one).await;
    eventually("the first worker's slots are full", async || one.begun(), |begun| *begun == SLOTS).await;
    let second = worker(&bed, &other).await;
    eventually("the second worker's slots are full", async || other.begun(), |begun| *begun == SLOTS).await;
    assert_eq!(peer.ready("celeriac").await, 32, "what neither can run is held by neither");

    for gate in [&one, &other] {
        gate.open.send_replace(true);
    }
    eventually("all have run", async || begun(&[&one, &other]), |begun| begun.len() == 40).await;
    first.stop().await;
    second.stop().await;
    assert!(begun(&[&one, &other]).values().all(|times| *times == 1));
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_holds_many_short_tasks_and_gives_them_back_when_they_become_long(bed: Bed) {
    let (one, other) = (Gate::new(true), Gate::new(true));
    let busy = worker(&bed, &one).await;
    let (management, vhost) = bed.management();
    let held = async || management.prefetches(vhost).await;
    let (mut sent, slots) = (0, SLOTS as u64);
    while held().await.iter().all(|prefetch| *prefetch < 8 * slots) {
        submit(&busy.client, sent..sent + 2_000).await;
        sent += 2_000;
        assert!(sent < 1_000_000, "the prefetch stays at {:?}", held().await);
    }

    // No task ends from here on, while a large prefetch is full.
    one.open.send_replace(false);
    submit(&busy.client, sent..sent + 2_000).await;
    sent += 2_000;
    // One more than the running tasks is not worth a new consumer.
    let follows = |held: &Vec<u64>| matches!(held.as_slice(), [held] if (slots..=slots + 1).contains(held));
    eventually("the prefetch follows what still runs", held, follows).await;
    let idle = worker(&bed, &other).await;
    // The busy worker has its running tasks, as many more under its new prefetch, and those that it
    // had already returned once.
    let all = usize::try_from(sent).unwrap();
    let begun_here = async || begun(&[&one, &other]).len();
    eventually("the idle worker runs the others", begun_here, |begun| *begun >= all - 600).await;

    one.open.send_replace(true);
    eventually("all have run", begun_here, |begun| *begun == all).await;
    busy.stop().await;
    idle.stop().await;
    assert!(begun(&[&one, &other]).values().all(|times| *times == 1), "what goes back has not begun");
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_queue_may_have_a_prefetch_of_its_own(bed: Bed) {
    let gate = Gate::new(false);
    let program = bed
        .program(tasks![pass])
        .set("worker.concurrency", SLOTS.to_string())
        .set("worker.prefetch", "7")
        .set("queues", r#"{"reports": {"prefetch": 2}, "mail": {"prefetch": "auto"}}"#)
        .shared(Arc::clone(&gate));
    bed.start(program).await;
    let (management, vhost) = bed.management();
    let prefetches = async || {
        let mut prefetches = management.prefetches(vhost).await;
        prefetches.sort_unstable();
        prefetches
    };
    eventually("each queue's own", prefetches, |prefetches| *prefetches == [2, 4, 7]).await;
}
