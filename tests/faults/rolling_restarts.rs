//! Workers are replaced one after the other, as in a rolling update, while tasks of very different
//! lengths run.

use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects, Program, Tally};
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;

const WORKERS: usize = 3;

/// Allowance for a slow machine, beyond the second that a worker has after the drain.
const SLOW: Duration = Duration::from_secs(3);

/// Number, rate and interval.
struct Plan {
    restarts: usize,
    a_second: u32,
    /// Milliseconds of the longest task. The shortest takes ten.
    longest: f64,
    /// Shorter than the longest task, so that some are interrupted.
    drain: Duration,
}

impl Plan {
    fn chosen() -> Self {
        match is_long() {
            true => Self { restarts: 50, a_second: 20, longest: 20_000.0, drain: Duration::from_secs(8) },
            false => Self { restarts: 6, a_second: 40, longest: 1_000.0, drain: Duration::from_millis(400) },
        }
    }

    /// Returns a random length: as many of 10 to 100 ms as of 100 ms to a second, and as many
    /// above.
    fn milliseconds(&self) -> u64 {
        (10.0 * (self.longest / 10.0).powf(fastrand::f64())) as u64
    }
}

#[task(name = "test.effect_exactly")]
pub(crate) async fn effect_exactly(milliseconds: u64);

/// Results of the restarts.
#[derive(Default)]
struct Restarts {
    longest: Duration,
    interrupted: u32,
}

/// Workers that replace one another as planned.
struct Rollout<'a> {
    bed: &'a Bed,
    plan: &'a Plan,
}

impl Rollout<'_> {
    async fn worker(&self, number: usize) -> Program {
        let variables = [("CELERIAC__RESULTS__POOL__MAX_TRANSACTIONS", "32".to_owned())];
        let (name, drain) = (format!("w{number}"), format!("{}ms", self.plan.drain.as_millis()));
        let arguments = ["worker", "-l", "info", "-c", "32", "-n", &name, "--drain-timeout", &drain];
        let mut worker = self.bed.process_with(&arguments, &variables);
        worker.says("ready").await;
        worker
    }

    /// Stops a worker, and starts the next one before or after that. Kubernetes does either,
    /// depending on `maxSurge`.
    async fn replace(&self, mut old: Program, number: usize, seen: &mut Restarts) -> Program {
        let before = if number.is_multiple_of(2) { Some(self.worker(number).await) } else { None };
        let asked = Instant::now();
        old.signal("TERM");
        let code = old.exit_code(self.plan.drain + Duration::from_secs(60)).await;
        seen.longest = seen.longest.max(asked.elapsed());
        let said = old.rest().await;
        assert_eq!(code, 0, "{said}");
        seen.interrupted += interrupted(&said);
        match before {
            Some(worker) => worker,
            None => self.worker(number).await,
        }
    }
}

/// Returns the number of interrupted tasks in a worker's last line.
fn interrupted(said: &str) -> u32 {
    let (_, count) = said.rsplit_once(" interrupted=").unwrap();
    count.split_whitespace().next().unwrap().parse().unwrap()
}

#[celeriac_tests::test(real, threads = 2)]
async fn rolling_restarts_lose_nothing_double_nothing_and_count_no_attempt(bed: Bed) {
    let plan = Plan::chosen();
    let rollout = Rollout { bed: &bed, plan: &plan };
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let client = bed.client(bed.program([])).await;
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        workers.push(rollout.worker(number).await);
    }
    let done = CancellationToken::new();
    let send = async {
        let mut beat = tokio::time::interval(Duration::from_secs(1) / plan.a_second);
        let mut ids = Vec::new();
        while done.run_until_cancelled(beat.tick()).await.is_some() {
            let handle = effect_exactly(plan.milliseconds()).submit(&client).await.unwrap();
            ids.push(handle.id().to_owned());
        }
        book.issue(&ids).await;
    };
    let restart = async {
        let mut seen = Restarts::default();
        for number in WORKERS..WORKERS + plan.restarts {
            // The new worker needs tasks of its own before it is replaced.
            let old = workers.remove(0);
            workers.push(rollout.replace(old, number, &mut seen).await);
        }
        done.cancel();
        seen
    };
    let ((), Restarts { longest, interrupted }) = tokio::join!(send, restart);
    book.settle(Duration::from_secs(300)).await;
    let peer = bed.peer().await;
    eventually("the queue is empty", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    for worker in &mut workers {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(plan.drain + Duration::from_secs(60)).await, 0, "{}", worker.output());
    }

    let tally = book.tally().await;
    let more = "SELECT count(*) FROM celeriac.tasks WHERE attempts <> 1";
    let more: i64 = sqlx::query_scalar(more).fetch_one(&mut bed.database().await).await.unwrap();
    println!(
        "rolling restarts {}: {tally}, interrupted {interrupted}, with more than one attempt {more}, longest end {:.2} s of a \
         drain of {:.1} s",
        plan.restarts,
        longest.as_secs_f64(),
        plan.drain.as_secs_f64()
    );
    let exact = Tally { issued: tally.issued, effected: tally.issued, missing: 0, doubled: 0 };
    assert_eq!((tally, more), (exact, 0));
    assert!(interrupted > 0, "a drain that interrupts nothing proves nothing");
    assert!(longest < plan.drain + Duration::from_secs(1) + SLOW, "{longest:?}");
    assert_eq!((peer.ready("celeriac").await, peer.ready("celeriac.dead").await), (0, 0));
}
