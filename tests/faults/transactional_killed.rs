//! Everything is killed in turn, again and again, while tasks write down that they took effect.

use std::ops::Range;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac_tests::{Bed, Book, Effects, Program, Tally};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::in_turn::{Crew, Ground, Kills, keep_killing};
use crate::ledger::is_long;
use crate::worker_killed::PROGRAM;

/// How much, how fast and how often.
pub(crate) struct Plan {
    pub(crate) tasks: usize,
    pub(crate) a_second: usize,
    /// Milliseconds from one kill to the next, beside what a server takes to come back.
    pub(crate) pause: Range<u64>,
}

impl Plan {
    fn chosen(long: Self) -> Self {
        if is_long() { long } else { Self { tasks: 2_000, a_second: 200, pause: 300..800 } }
    }
}

/// How many tasks are sent together.
const TOGETHER: usize = 20;

#[task(name = "test.effect")]
async fn effect(milliseconds: u64);

/// The field, and what is on it.
struct Stage {
    ground: Ground,
    book: Book,
    client: Client,
}

impl Stage {
    async fn new(bed: &Bed) -> Self {
        let ground = Ground::new().await;
        let app = bed.program([]).set("broker.url", ground.broker.url()).set("results.url", ground.database.url());
        let client = app.build().unwrap().client().await.unwrap();
        let book = Book::open(&ground.database.url(), Effects::Written).await;
        Self { ground, book, client }
    }

    fn program(&self, arguments: &[&str]) -> Program {
        let variables = [
            ("CELERIAC__BROKER__URL", self.ground.broker.url()),
            ("CELERIAC__RESULTS__URL", self.ground.database.url()),
        ];
        Program::start(PROGRAM, arguments, &variables)
    }

    fn workers(&self) -> Crew<'_> {
        Crew::start(2, |number| {
            self.program(&["worker", "-l", "warn", "-c", "16", "-n", &format!("w{number}"), "--drain", "10s"])
        })
    }

    /// Waits until nothing is left to run, and says what the book says.
    async fn end(&self, mut workers: Crew<'_>) -> Tally {
        workers.tend();
        self.book.settle(Duration::from_secs(300)).await;
        self.ground.empty().await;
        workers.stop("  tasks").await;
        self.book.tally().await
    }
}

/// Beats so many times a second that so many tasks are sent, in groups.
fn beats(plan: &Plan) -> tokio::time::Interval {
    let mut beats = tokio::time::interval(Duration::from_secs(1) / u32::try_from(plan.a_second / TOGETHER).unwrap());
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    beats
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_confirmed_task_is_missing_when_everything_is_killed_and_its_effect_is_a_commit_of_its_own() {
    let plan = Plan::chosen(Plan { tasks: 20_000, a_second: 200, pause: 1_000..3_000 });
    let bed = Bed::new().await;
    let stage = Stage::new(&bed).await;
    let (mut workers, mut relays) = (stage.workers(), Crew::start(0, |_| stage.program(&["relay"])));
    let done = CancellationToken::new();
    let send = async {
        let (mut beats, mut unconfirmed) = (beats(&plan), 0);
        for _ in 0..plan.tasks / TOGETHER {
            beats.tick().await;
            let sent: Vec<_> = stage.client.submit_each((0..TOGETHER).map(|_| effect(2))).collect().await;
            let confirmed: Vec<_> = sent.into_iter().flatten().map(|handle| handle.id().to_owned()).collect();
            unconfirmed += TOGETHER - confirmed.len();
            stage.book.issue(&confirmed).await;
        }
        done.cancel();
        unconfirmed
    };
    let killing = keep_killing(&stage.ground, &mut workers, &mut relays, plan.pause.clone(), &done);
    let (kills, unconfirmed) = tokio::join!(killing, send);
    let tally = stage.end(workers).await;
    println!("effect in a commit of its own; {kills}: {tally}, unconfirmed {unconfirmed}");
    assert_eq!(tally.missing, 0, "{tally}");
    assert_all_killed(&kills);
    stage.client.close().await;
    bed.clear().await;
}

pub(crate) fn assert_all_killed(Kills { workers, brokers, databases, .. }: &Kills) {
    assert!(*workers > 1 && *brokers > 0 && *databases > 0, "the test has to kill to mean anything");
}
