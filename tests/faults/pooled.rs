//! A PgBouncer between programs and Postgres is killed, and so is the Postgres behind it.

use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac_servers::{Durability, PoolMode, PoolerNode, PostgresNode};
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Book, Effects};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::in_turn::{Crew, blocking};
use crate::ledger::is_long;

#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// A Postgres of its own, and a PgBouncer before it.
struct Pooled {
    postgres: PostgresNode,
    pooler: PoolerNode,
}

impl Pooled {
    async fn start(mode: PoolMode) -> Self {
        blocking(move || {
            let postgres = PostgresNode::start(Durability::Real).unwrap();
            // Sessions for two workers, a relay and a client.
            let pooler = PoolerNode::start_with(postgres.port(), mode, 100).unwrap();
            Self { postgres, pooler }
        })
        .await
    }

    fn url(&self) -> String {
        self.postgres.url().replace(&format!(":{}/", self.postgres.port()), &format!(":{}/", self.pooler.port()))
    }

    fn kill_pooler(&self) {
        tokio::task::block_in_place(|| self.pooler.kill_and_restart().unwrap());
    }

    fn kill_postgres(&self) {
        tokio::task::block_in_place(|| self.postgres.kill().and_then(|()| self.postgres.restart()).unwrap());
    }

    /// Returns the number of effects in the database.
    async fn effects(&self) -> i64 {
        let Ok(mut database) = PgConnection::connect(&self.postgres.url()).await else { return 0 };
        let effects = sqlx::query_scalar("SELECT count(*) FROM ledger.effects");
        effects.fetch_one(&mut database).await.unwrap_or(0)
    }

    /// Waits until work goes on. Returns the time that it took.
    async fn work_goes_on(&self) -> Duration {
        let (begun, before) = (Instant::now(), self.effects().await);
        let effects = async || self.effects().await;
        eventually_within(Duration::from_secs(60), "work goes on", effects, |effects| *effects > before + 20).await;
        begun.elapsed()
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn transactional_tasks_are_exact_when_a_pooler_in_session_mode_is_killed(bed: Bed) {
    let servers = Pooled::start(PoolMode::Session).await;
    let book = Book::open(&servers.postgres.url(), Effects::Written).await;
    let client = bed.client(bed.program([]).set("results.url", servers.url())).await;
    let variables = [("CELERIAC__RESULTS__URL", servers.url())];
    let mut workers = Crew::start(2, |number| {
        let name = format!("w{number}");
        bed.process_with(&["worker", "-l", "warn", "-c", "8", "-n", &name, "--drain-timeout", "10s"], &variables)
    });

    let done = CancellationToken::new();
    let sending = async {
        let mut beats = tokio::time::interval(Duration::from_millis(100));
        while done.run_until_cancelled(beats.tick()).await.is_some() {
            let sent = client.submit_many((0..20).map(|_| effect_exactly(2))).await;
            let ids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
            book.issue(&ids).await;
        }
    };
    let rounds = if is_long() { 20 } else { 1 };
    let (mut pooler, mut postgres) = (Vec::new(), Vec::new());
    let killing = async {
        servers.work_goes_on().await;
        for _ in 0..rounds {
            servers.kill_pooler();
            pooler.push(servers.work_goes_on().await);
            servers.kill_postgres();
            postgres.push(servers.work_goes_on().await);
            assert!(workers.kill_one().await, "a worker runs");
            servers.work_goes_on().await;
        }
        done.cancel();
    };
    tokio::join!(sending, killing);
    book.settle(Duration::from_secs(60)).await;
    workers.stop("  tasks").await;
    let tally = book.tally().await;
    let longest = |times: &[Duration]| times.iter().max().unwrap().as_secs_f64();
    println!(
        "pooler in session mode, each killed {rounds} times: {tally}; work went on within {:.1} s after the pooler, {:.1} s \
         after postgres",
        longest(&pooler),
        longest(&postgres)
    );
    assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
    let peer = bed.peer().await;
    assert_eq!([peer.ready("celeriac").await, peer.ready("celeriac.dead").await], [0, 0]);
}

/// Sends in a transaction that also writes to the ledger. The statements are not prepared: the next
/// transaction may be in another session.
const SEND: &str = "BEGIN;
    WITH sent AS (SELECT celeriac.enqueue('test.effect_exactly', '[2]') AS id FROM generate_series(1, 20))
    INSERT INTO ledger.issued (id) SELECT id FROM sent;
    COMMIT";

#[celeriac_tests::test(real, threads = 2)]
async fn what_sql_sends_through_a_pooler_in_transaction_mode_is_exact_when_it_is_killed(bed: Bed) {
    let servers = Pooled::start(PoolMode::Transaction).await;
    let book = Book::open(&servers.postgres.url(), Effects::Written).await;
    let direct = [("CELERIAC__RESULTS__URL", servers.postgres.url())];
    let mut worker = bed.process_with(&["worker", "-l", "warn", "-c", "8"], &direct);
    worker.says("  tasks").await;

    let done = CancellationToken::new();
    let sending = async {
        let (mut committed, mut unknown) = (0, 0);
        let mut beats = tokio::time::interval(Duration::from_millis(50));
        let connect = async || PgConnection::connect(&servers.url()).await;
        let mut database = connect().await.unwrap();
        while done.run_until_cancelled(beats.tick()).await.is_some() {
            match sqlx::raw_sql(AssertSqlSafe(SEND)).execute(&mut database).await {
                Ok(_) => committed += 20,
                Err(_) => {
                    unknown += 20;
                    database = eventually("a connection", connect, Result::is_ok).await.unwrap();
                }
            }
        }
        (committed, unknown)
    };
    let kills = if is_long() { 20 } else { 2 };
    let killing = async {
        servers.work_goes_on().await;
        for number in 0..kills {
            if number % 2 == 0 {
                servers.kill_pooler()
            } else {
                servers.kill_postgres()
            }
            servers.work_goes_on().await;
        }
        done.cancel();
    };
    let ((committed, unknown), ()) = tokio::join!(sending, killing);
    book.settle(Duration::from_secs(60)).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(60)).await, 0, "{}", worker.output());
    let tally = book.tally().await;
    println!("sent by SQL through a pooler in transaction mode, {kills} kills, {unknown} unknown: {tally}");
    assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
    assert!(tally.issued >= committed, "{tally}: {committed} were committed");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM celeriac.outbox")
        .fetch_one(&mut PgConnection::connect(&servers.postgres.url()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(left, 0);
}
