//! Everything is killed in turn, repeatedly, while tasks record their effects.

use std::ops::Range;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects, Program, Tally};
use futures::StreamExt;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::in_turn::{Crew, Ground, Kills, keep_killing};
use crate::ledger::is_long;

/// Number, rate and interval.
pub(crate) struct Plan {
    pub(crate) tasks: usize,
    pub(crate) a_second: usize,
    /// Milliseconds between two kills, in addition to a server's start.
    pub(crate) pause: Range<u64>,
}

impl Plan {
    fn chosen(long: Self) -> Self {
        if is_long() { long } else { Self { tasks: 400, a_second: 100, pause: 1_000..2_000 } }
    }
}

/// Longest time without an effect while everything is killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Number of tasks that are sent together.
const TOGETHER: usize = 20;

#[task(name = "test.effect")]
async fn effect(milliseconds: u64);

#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// Servers that are killed, and the programs that use them.
struct Killed<'a> {
    bed: &'a Bed,
    ground: Ground,
    book: Book,
    client: Client,
}

impl<'a> Killed<'a> {
    async fn new(bed: &'a Bed) -> Self {
        let ground = Ground::new().await;
        let program = bed.program([]).set("broker.url", ground.broker.url()).set("results.url", ground.database.url());
        let client = bed.client(program).await;
        let book = Book::open(&ground.database.url(), Effects::Written).await;
        Self { bed, ground, book, client }
    }

    fn program(&self, arguments: &[&str]) -> Program {
        let variables = [
            ("CELERIAC__BROKER__URL", self.ground.broker.url()),
            ("CELERIAC__RESULTS__URL", self.ground.database.url()),
            // Each relay is a program of its own here, so that it can be killed separately.
            ("CELERIAC__WORKER__RUN_RELAY", "false".to_owned()),
        ];
        self.bed.process_with(arguments, &variables)
    }

    fn workers(&self) -> Crew<'_> {
        Crew::start(2, |number| {
            self.program(&["worker", "-l", "warn", "-c", "16", "-n", &format!("w{number}"), "--drain-timeout", "10s"])
        })
    }

    /// Sends in transactions that also write to the ledger. Returns the number that failed or
    /// remained unknown.
    async fn send_in_transactions(&self, plan: &Plan) -> usize {
        let (mut beats, mut sent, mut unknown) = (beats(plan), 0, 0);
        let mut database = self.connect().await;
        while sent < plan.tasks {
            beats.tick().await;
            match self.send_together(&mut database).await {
                Ok(()) => sent += TOGETHER,
                Err(_) => {
                    unknown += 1;
                    database = self.connect().await;
                }
            }
        }
        unknown
    }

    async fn send_together(&self, database: &mut PgConnection) -> anyhow::Result<()> {
        let mut transaction = database.begin().await?;
        let mut ids = Vec::new();
        for _ in 0..TOGETHER {
            let handle = self.client.submit_in(&mut transaction, effect_exactly(2)).await?;
            ids.push(handle.id().to_owned());
        }
        Book::issue_in(&mut transaction, &ids).await?;
        Ok(transaction.commit().await?)
    }

    async fn connect(&self) -> PgConnection {
        let connect = async || PgConnection::connect(&self.ground.database.url()).await;
        eventually("a connection", connect, Result::is_ok).await.unwrap()
    }

    /// Waits until nothing is left to run again, and returns the tally.
    async fn end(&self, mut workers: Crew<'_>) -> Tally {
        workers.tend();
        let waiting = async || {
            let rows = "SELECT count(*) FROM celeriac.outbox";
            sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut self.connect().await).await.unwrap()
        };
        eventually("the outbox is empty", waiting, |rows| *rows == 0).await;
        self.ground.empty().await;
        workers.stop("  tasks").await;
        self.book.tally().await
    }
}

/// Returns the interval between groups of tasks for the planned rate.
fn beats(plan: &Plan) -> tokio::time::Interval {
    let mut beats = tokio::time::interval(Duration::from_secs(1) / u32::try_from(plan.a_second / TOGETHER).unwrap());
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    beats
}

#[celeriac_tests::test(real, threads = 2)]
async fn no_confirmed_task_is_missing_when_everything_is_killed_and_its_effect_is_a_commit_of_its_own(bed: Bed) {
    let plan = Plan::chosen(Plan { tasks: 10_000, a_second: 100, pause: 1_000..3_000 });
    let killed = Killed::new(&bed).await;
    let (mut workers, mut relays) = (killed.workers(), Crew::start(0, |_| killed.program(&["relay"])));
    let done = CancellationToken::new();
    let send = async {
        let (mut beats, mut unconfirmed) = (beats(&plan), 0);
        for _ in 0..plan.tasks / TOGETHER {
            beats.tick().await;
            let sent: Vec<_> = killed.client.submit_stream((0..TOGETHER).map(|_| effect(2))).collect().await;
            let confirmed: Vec<_> = sent.into_iter().flatten().map(|handle| handle.id().to_owned()).collect();
            unconfirmed += TOGETHER - confirmed.len();
            killed.book.issue(&confirmed).await;
        }
        killed.book.settle(PATIENCE).await;
        done.cancel();
        unconfirmed
    };
    let killing = keep_killing(&killed.ground, &mut workers, &mut relays, plan.pause.clone(), &done);
    let (kills, unconfirmed) = tokio::join!(killing, send);
    let tally = killed.end(workers).await;
    println!("effect in a commit of its own; {kills}: {tally}, unconfirmed {unconfirmed}");
    assert_eq!(tally.missing, 0, "{tally}");
    assert_all_killed(&kills);
    killed.client.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_transaction_at_both_ends_is_exact_when_everything_is_killed(bed: Bed) {
    let plan = Plan::chosen(Plan { tasks: 100_000, a_second: 500, pause: 1_000..3_000 });
    let killed = Killed::new(&bed).await;
    let relay = |_| killed.program(&["relay", "-l", "warn"]);
    let (mut workers, mut relays) = (killed.workers(), Crew::start(2, relay));
    let done = CancellationToken::new();
    let send = async {
        let unknown = killed.send_in_transactions(&plan).await;
        killed.book.settle(PATIENCE).await;
        done.cancel();
        unknown
    };
    let killing = keep_killing(&killed.ground, &mut workers, &mut relays, plan.pause.clone(), &done);
    let (kills, unknown) = tokio::join!(killing, send);
    relays.tend();
    let tally = killed.end(workers).await;
    drop(relays);
    println!("a transaction at both ends; {kills}: {tally}, commits of the sender without an answer {unknown}");
    assert!(tally.issued >= i64::try_from(plan.tasks).unwrap(), "{tally}");
    assert_eq!(tally, Tally { effected: tally.issued, missing: 0, doubled: 0, ..tally });
    assert_all_killed(&kills);
    assert!(kills.relays > 0, "{kills}");
    killed.client.close().await;
}

pub(crate) fn assert_all_killed(Kills { workers, brokers, databases, .. }: &Kills) {
    assert!(*workers > 1 && *brokers > 0 && *databases > 0, "the test has to kill to mean anything");
}
