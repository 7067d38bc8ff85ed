//! The relay is killed, and stopped, repeatedly.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Peer, Program};
use tokio_util::sync::CancellationToken;

use crate::ledger::{is_long, note};

pub(crate) const KEYS: u64 = 20;

/// Log text of a relay that has acquired the lease.
pub(crate) const LEADS: &str = "relay started";

/// Log text of a relay that has lost it.
const LOST: &str = "relay interrupted";

/// A client that writes to the outbox, and relays that are killed or stopped.
struct Outbox {
    bed: Bed,
    client: Client,
    /// Number of times that a relay was killed or stopped.
    faults: AtomicU32,
    /// Cancelled when everything is sent.
    done: CancellationToken,
}

impl Outbox {
    async fn new(bed: Bed) -> Self {
        let client = bed.client(bed.program([])).await;
        Self { bed, client, faults: AtomicU32::new(0), done: CancellationToken::new() }
    }

    fn relay(&self) -> Program {
        self.bed.process(&["relay", "-l", "info"])
    }

    /// Writes at least this many tasks, two hundred a second, until there were this many faults,
    /// because a fault without traffic shows nothing. Returns the number of tasks after all are
    /// sent.
    async fn write(&self, least: u64, faults: u32) -> u64 {
        let mut database = self.bed.database().await;
        let (mut beat, mut number) = (tokio::time::interval(Duration::from_millis(5)), 0);
        while number < least || self.faults.load(Ordering::Relaxed) < faults {
            beat.tick().await;
            let mut tx = database.begin().await.unwrap();
            let call = note(number).ordered_by(format!("key-{}", number % KEYS));
            self.client.submit_in(&mut tx, call).await.unwrap();
            tx.commit().await.unwrap();
            number += 1;
        }
        let left = "SELECT waiting FROM celeriac.outbox_lag";
        let left = async || sqlx::query_scalar::<_, i64>(left).fetch_one(&mut database).await.unwrap();
        eventually_within(Duration::from_secs(300), "everything is sent", left, |left| *left == 0).await;
        self.done.cancel();
        number
    }

    /// Runs one relay after another until everything is sent.
    async fn keep_killing(&self) {
        loop {
            let mut relay = self.relay();
            relay.says(LEADS).await;
            let life = Duration::from_millis(fastrand::u64(100..1_200));
            if self.done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
                return end(relay).await;
            }
            relay.kill().await;
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends SIGSTOP to the relay that sends, at any point, until another one sends. Then continues
    /// it. Repeats that.
    async fn keep_stopping(&self, stops: u32) {
        let (mut leads, mut waits) = (self.relay(), self.relay());
        tokio::select! {
            _ = leads.says(LEADS) => {}
            _ = waits.says(LEADS) => std::mem::swap(&mut leads, &mut waits),
        }
        for _ in 0..stops {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(100..1_200))).await;
            let (led, lost) = (said(&waits, LEADS), said(&leads, LOST));
            leads.signal("STOP");
            eventually("another relays", async || said(&waits, LEADS), |times| *times > led).await;
            leads.signal("CONT");
            // Another relay has the lease by now. The first one must notice that.
            eventually("it is told so", async || said(&leads, LOST), |times| *times > lost).await;
            std::mem::swap(&mut leads, &mut waits);
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        self.done.cancelled().await;
        end(leads).await;
        end(waits).await;
    }

    /// Runs all messages of the queue, one at a time. Checks that each task runs once, and those of
    /// a key in order. Returns the line of the report.
    async fn check(self, count: u64) -> String {
        let peer = self.bed.peer().await;
        let mut database = self.bed.database().await;
        let line = run_in_order(&self.bed, &peer, &mut database, &[], count).await;
        format!("{} times: {line}", self.faults.into_inner())
    }
}

/// Runs all messages of the queue, one at a time, with these further variables. Checks that each
/// task runs once, and those of a key in order. Returns the line of the report.
pub(crate) async fn run_in_order(
    bed: &Bed,
    peer: &Peer,
    database: &mut PgConnection,
    variables: &[(&str, String)],
    count: u64,
) -> String {
    let messages = u64::from(peer.ready("celeriac").await);
    let journal = tempfile::NamedTempFile::new().unwrap();
    let mut variables = variables.to_vec();
    variables.push(("JOURNAL", journal.path().to_string_lossy().into_owned()));
    let arguments = ["worker", "-l", "warn", "-c", "1", "--prefetch", "1"];
    let worker = bed.process_with(&arguments, &variables);
    let ready = async || peer.ready("celeriac").await;
    eventually_within(Duration::from_secs(900), "everything is run", ready, |ready| *ready == 0).await;
    let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
    let ended = async || sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut *database).await.unwrap();
    eventually("every task has its row", ended, |rows| u64::try_from(*rows).unwrap() == count).await;
    end(worker).await;

    let mut of_key: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut runs = 0;
    for line in std::fs::read_to_string(journal.path()).unwrap().lines() {
        let number: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        of_key.entry(number % KEYS).or_default().push(number);
        runs += 1;
    }
    for (key, numbers) in &of_key {
        assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
    }
    assert_eq!(runs, count, "nothing is missing, and no copy has run");
    format!("written {count}, sent {messages}, run {runs}, copies {}", messages - count)
}

/// Returns the number of times that the text was printed.
pub(crate) fn said(program: &Program, text: &str) -> usize {
    program.output().matches(text).count()
}

pub(crate) async fn end(mut program: Program) {
    program.signal("TERM");
    assert_eq!(program.exit_code(Duration::from_secs(40)).await, 0, "{}", program.output());
}

#[celeriac_tests::test(real, threads = 2)]
async fn everything_is_sent_in_the_order_of_its_key_although_the_relay_is_killed_again_and_again(bed: Bed) {
    let outbox = Outbox::new(bed).await;
    let least = if is_long() { 50_000 } else { 2_000 };
    let ((), count) = tokio::join!(outbox.keep_killing(), outbox.write(least, 4));
    println!("relay killed {}", outbox.check(count).await);
}

#[celeriac_tests::test(real, threads = 2)]
async fn everything_is_sent_in_the_order_of_its_key_although_the_relay_is_stopped_and_wakes_as_another_relays(
    bed: Bed,
) {
    let outbox = Outbox::new(bed).await;
    let (least, stops) = if is_long() { (20_000, 10) } else { (2_000, 1) };
    let ((), count) = tokio::join!(outbox.keep_stopping(stops), outbox.write(least, stops));
    println!("relay stopped and woken {}", outbox.check(count).await);
}
