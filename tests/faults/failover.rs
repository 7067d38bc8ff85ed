//! The primary of Postgres is lost, and its replica is promoted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::{Client, PgConnection, sqlx};
use celeriac_servers::{Durability, PostgresNode, PostgresSpec};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects, Program, Tally};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::in_turn::blocking;
use crate::ledger::{is_long, note};

/// Takes effect in the transaction of its outcome. Run by the test program.
#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// A primary, and a replica that streams from it.
pub(crate) struct Pair {
    pub(crate) primary: Arc<PostgresNode>,
    pub(crate) replica: Arc<PostgresNode>,
}

impl Pair {
    /// Starts both. The settings are those of the primary alone.
    pub(crate) async fn start(settings: Vec<String>) -> Self {
        blocking(move || {
            let spec = |settings| PostgresSpec { durability: Durability::Real, settings, ..PostgresSpec::default() };
            let primary = spec(settings).start().unwrap();
            let replica = primary.start_replica(spec(Vec::new())).unwrap();
            Self { primary: Arc::new(primary), replica: Arc::new(replica) }
        })
        .await
    }

    /// Returns a URL with both hosts.
    fn url(&self) -> String {
        let [primary, replica] = [self.primary.port(), self.replica.port()];
        format!("postgres://postgres@127.0.0.1:{primary},127.0.0.1:{replica}/postgres?target_session_attrs=read-write")
    }

    pub(crate) async fn kill_primary(&self) {
        let primary = Arc::clone(&self.primary);
        blocking(move || primary.kill().unwrap()).await;
    }

    pub(crate) async fn promote(&self) {
        let replica = Arc::clone(&self.replica);
        blocking(move || replica.promote().unwrap()).await;
    }

    pub(crate) async fn catch_up(&self) {
        let (primary, replica) = (Arc::clone(&self.primary), Arc::clone(&self.replica));
        blocking(move || replica.catch_up(&primary).unwrap()).await;
    }

    fn worker(&self, bed: &Bed, name: &str) -> Program {
        let arguments = ["worker", "-l", "info", "-n", name, "-c", "8", "--prefetch", "16"];
        bed.process_with(&arguments, &[("CELERIAC__RESULTS__URL", self.url())])
    }

    async fn client(&self, bed: &Bed) -> Client {
        let program = bed.program([]).set("results.url", self.url()).set("results.connect_timeout", "2s");
        bed.client(program.set("client.result_timeout", "60s")).await
    }
}

/// Returns a number that the server counts, or zero while it is away.
pub(crate) async fn count(node: &PostgresNode, query: &'static str) -> i64 {
    let Ok(mut database) = PgConnection::connect(&node.url()).await else { return 0 };
    sqlx::query_scalar(query).fetch_one(&mut database).await.unwrap_or(0)
}

const SUCCESSES: &str = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";

/// Attempts beyond the first of each task. An outage is no attempt.
pub(crate) const FURTHER_ATTEMPTS: &str =
    "SELECT (SELECT count(*) FROM celeriac.attempts) + (SELECT count(*) FROM celeriac.tasks WHERE attempts > 1)";

/// Ids of tasks that were confirmed to the sender.
#[derive(Debug, Default)]
struct Issued {
    effects: Vec<String>,
    notes: Vec<String>,
}

impl Issued {
    /// Sends this many tasks of each kind.
    async fn send(&mut self, client: &Client, each: u64) {
        let effects = client.submit_many((0..each).map(|_| effect_exactly(2))).await;
        self.effects.extend(effects.into_iter().map(|sent| sent.unwrap().id().to_owned()));
        let notes = client.submit_many((0..each).map(note)).await;
        self.notes.extend(notes.into_iter().map(|sent| sent.unwrap().id().to_owned()));
    }

    /// Returns the number of notes without a row on this server.
    async fn unrecorded(&self, node: &PostgresNode) -> i64 {
        let mut database = PgConnection::connect(&node.url()).await.unwrap();
        let unrecorded = "SELECT count(*) FROM unnest($1::text[]) AS issued (id)
            WHERE NOT EXISTS (SELECT FROM celeriac.tasks WHERE tasks.id = issued.id AND state = 'SUCCESS')";
        sqlx::query_scalar(unrecorded).bind(&self.notes).fetch_one(&mut database).await.unwrap()
    }
}

async fn stop(mut worker: Program) -> String {
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    worker.rest().await
}

/// Sends tasks in a transaction that also writes the ledger.
async fn send_in_transaction(client: &Client, url: &str, number: u64) -> Vec<String> {
    let mut database = PgConnection::connect(url).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(client.submit_in(&mut transaction, effect_exactly(2)).await.unwrap().id().to_owned());
    }
    Book::issue_in(&mut transaction, &ids).await.unwrap();
    transaction.commit().await.unwrap();
    ids
}

#[celeriac_tests::test(real, threads = 2)]
async fn nothing_is_missing_or_doubled_after_a_failover_to_a_synchronous_replica(bed: Bed) {
    synchronous(&bed, "on").await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn nothing_is_missing_or_doubled_after_a_failover_to_a_replica_that_has_applied_each_commit(bed: Bed) {
    synchronous(&bed, "remote_apply").await;
}

async fn synchronous(bed: &Bed, mode: &str) {
    let settings = ["synchronous_standby_names=*".to_owned(), format!("synchronous_commit={mode}")];
    let pair = Pair::start(settings.to_vec()).await;
    Book::open(&pair.primary.url(), Effects::Written).await;
    let book = Book::at(&pair.replica.url());
    let (client, mut issued) = (pair.client(bed).await, Issued::default());
    let mut worker = pair.worker(bed, "one");
    let other = pair.worker(bed, "two");
    let keyed = note(1).idempotency_key("once").submit(&client).await.unwrap();
    let part = if is_long() { 3_000 } else { 150 };

    let done = CancellationToken::new();
    let sending = async {
        let mut beats = tokio::time::interval(Duration::from_millis(100));
        while done.run_until_cancelled(beats.tick()).await.is_some() {
            issued.send(&client, 10).await;
        }
    };
    let failing_over = async {
        eventually("work is done", async || count(&pair.primary, SUCCESSES).await, |rows| *rows > part).await;
        let begun = Instant::now();
        pair.kill_primary().await;
        worker.says("result store lost").await;
        let noticed = begun.elapsed();
        let waiting = note(2).submit(&client).await.unwrap();
        pair.promote().await;
        let (promoted, before) = (Instant::now(), count(&pair.replica, SUCCESSES).await);
        eventually("work goes on", async || count(&pair.replica, SUCCESSES).await, |rows| *rows > before).await;
        let resumed = promoted.elapsed();
        assert_eq!(waiting.get().await.unwrap(), 2, "the client listens at the new primary");
        let line = worker.says("result store failed over").await;
        assert!(line.contains("timeline 1") && line.contains("timeline 2"), "{line}");
        eventually("and on", async || count(&pair.replica, SUCCESSES).await, |rows| *rows > before + part).await;
        done.cancel();
        (noticed, resumed)
    };
    let ((), (noticed, resumed)) = tokio::join!(sending, failing_over);

    let again = note(1).idempotency_key("once").submit(&client).await.unwrap();
    assert_eq!(again.id(), keyed.id(), "the key was claimed before");
    let relayed = send_in_transaction(&client, &pair.replica.url(), 10).await;
    book.issue(&issued.effects).await;
    book.settle(Duration::from_secs(60)).await;
    eventually("notes are recorded", async || issued.unrecorded(&pair.replica).await, |rows| *rows == 0).await;
    let further = count(&pair.replica, FURTHER_ATTEMPTS).await;
    stop(worker).await;
    stop(other).await;
    let (tally, peer) = (book.tally().await, bed.peer().await);
    println!(
        "failover, synchronous_commit={mode}: noticed after {:.2} s, work went on {:.2} s after the promotion: \
         {tally}; recorded {}, missing 0; further attempts {further}, relayed after it {}",
        noticed.as_secs_f64(),
        resumed.as_secs_f64(),
        issued.notes.len(),
        relayed.len(),
    );
    assert_eq!((tally.missing, tally.doubled, further), (0, 0, 0), "{tally}");
    assert_eq!([peer.ready("celeriac").await, peer.ready("celeriac.dead").await], [0, 0]);
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_failover_to_an_asynchronous_replica_loses_the_commits_that_it_lacks_and_nothing_else(bed: Bed) {
    let pair = Pair::start(Vec::new()).await;
    Book::open(&pair.primary.url(), Effects::Written).await;
    let book = Book::at(&pair.replica.url());
    let (client, peer) = (pair.client(&bed).await, bed.peer().await);
    let each = if is_long() { 2_000 } else { 50 };
    let worker = pair.worker(&bed, "before");
    let mut kept = Issued::default();
    kept.send(&client, each).await;
    let kept_key = note(1).idempotency_key("kept").submit(&client).await.unwrap();
    kept_key.get().await.unwrap();
    succeeded(&pair.primary, 2 * each + 1).await;
    stop(worker).await;
    // These rows of the outbox reach the replica, and their deletion does not.
    let outbox = send_in_transaction(&client, &pair.primary.url(), each).await;
    pair.catch_up().await;
    let replica = Arc::clone(&pair.replica);
    blocking(move || replica.stop_streaming().unwrap()).await;

    let mut worker = pair.worker(&bed, "after");
    let mut tail = Issued::default();
    tail.send(&client, each).await;
    let lost_key = note(1).idempotency_key("lost").submit(&client).await.unwrap();
    lost_key.get().await.unwrap();
    succeeded(&pair.primary, 5 * each + 2).await;
    let sent = async || count(&pair.primary, "SELECT 1 - count(*) FROM celeriac.outbox").await;
    eventually("the outbox is empty", sent, |rest| *rest == 1).await;
    pair.kill_primary().await;
    let begun = Instant::now();
    pair.promote().await;
    let line = worker.says("result store failed over").await;
    assert!(line.contains("timeline 1") && line.contains("timeline 2"), "{line}");

    book.issue(&[&kept.effects[..], &tail.effects[..]].concat()).await;
    let lost = i64::try_from(tail.effects.len()).unwrap();
    let Tally { missing, doubled, .. } =
        eventually("the outbox is relayed again", async || book.tally().await, |tally| tally.missing == lost).await;
    let resumed = begun.elapsed();
    let again = note(1).idempotency_key("kept").submit(&client).await.unwrap();
    assert_eq!(again.id(), kept_key.id());
    let anew = note(1).idempotency_key("lost").submit(&client).await.unwrap();
    assert_ne!(anew.id(), lost_key.id(), "the claim is lost, so the task runs twice");
    anew.get().await.unwrap();
    stop(worker).await;
    let (unrecorded, recorded) = (tail.unrecorded(&pair.replica).await, kept.unrecorded(&pair.replica).await);
    println!(
        "failover, asynchronous: of {} effects {missing} lost, of {} rows {unrecorded} lost, all within the tail; \
         {} relayed again, doubled {doubled}; work went on after {:.2} s",
        kept.effects.len() + tail.effects.len(),
        kept.notes.len() + tail.notes.len(),
        outbox.len(),
        resumed.as_secs_f64(),
    );
    assert_eq!((missing, doubled), (lost, 0));
    assert_eq!((unrecorded, recorded), (i64::try_from(tail.notes.len()).unwrap(), 0));
    assert_eq!([peer.ready("celeriac").await, peer.ready("celeriac.dead").await], [0, 0]);
    old_primary_returns(&pair, &kept_key).await;
}

/// Checks that the old primary is not used although it comes back and the new one is away.
async fn old_primary_returns(pair: &Pair, handle: &TaskHandle<u64>) {
    let (primary, replica) = (Arc::clone(&pair.primary), Arc::clone(&pair.replica));
    blocking(move || {
        primary.restart().unwrap();
        replica.stop().unwrap();
    })
    .await;
    // A first read may still use the connection that ended with the new primary.
    let told = async || celeriac_telemetry::ErrorChain(&handle.record().await.unwrap_err()).to_string();
    let refused = |told: &String| told.contains("timeline 1 was replaced by cluster");
    eventually("the old primary is refused", told, refused).await;
    let replica = Arc::clone(&pair.replica);
    blocking(move || replica.restart().unwrap()).await;
    assert!(handle.record().await.unwrap().is_some());
}

/// Waits for this many successes.
async fn succeeded(node: &PostgresNode, number: u64) {
    let all = i64::try_from(number).unwrap();
    eventually("all have succeeded", async || count(node, SUCCESSES).await, |rows| *rows == all).await;
}
