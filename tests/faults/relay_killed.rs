//! The relay is killed again and again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use celeriac::sqlx::{self, Connection};
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Program};
use tokio_util::sync::CancellationToken;

use crate::ledger::{is_long, note};
use crate::worker_killed::PROGRAM;

const KEYS: u64 = 20;

/// The test means something when relays were killed so often.
const KILLS: u32 = 4;

/// Runs one relay after another until `done`, and counts those that were killed.
async fn keep_killing(bed: &Bed, kills: &AtomicU32, done: &CancellationToken) {
    let variables = [("CELERIAC__BROKER__URL", bed.amqp_url()), ("CELERIAC__RESULTS__URL", bed.database_url())];
    loop {
        let mut relay = Program::start(PROGRAM, &["relay", "-l", "info"], &variables);
        relay.says("relaying the outbox").await;
        let life = Duration::from_millis(fastrand::u64(100..1_200));
        if done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
            relay.signal("TERM");
            assert_eq!(relay.exit_code(Duration::from_secs(40)).await, 0, "{}", relay.output());
            return;
        }
        relay.kill().await;
        kills.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_sent_in_the_order_of_its_key_although_the_relay_is_killed_again_and_again() {
    let least: u64 = if is_long() { 50_000 } else { 2_000 };
    let bed = Bed::new().await;
    let client = bed.program([]).build().unwrap().client().await.unwrap();
    let (kills, done) = (AtomicU32::new(0), CancellationToken::new());
    let write = async {
        let mut database = bed.database().await;
        let mut number = 0;
        // A quick machine has written all before the first kill.
        while number < least || kills.load(Ordering::Relaxed) < KILLS {
            let mut tx = database.begin().await.unwrap();
            let call = note(number).ordered_by(format!("key-{}", number % KEYS));
            client.submit_in(&mut tx, call).await.unwrap();
            tx.commit().await.unwrap();
            number += 1;
        }
        let left = "SELECT waiting FROM celeriac.outbox_lag";
        let left = async || sqlx::query_scalar::<_, i64>(left).fetch_one(&mut database).await.unwrap();
        eventually_within(Duration::from_secs(300), "everything is sent", left, |left| *left == 0).await;
        done.cancel();
        number
    };
    let ((), count) = tokio::join!(keep_killing(&bed, &kills, &done), write);
    let kills = kills.into_inner();
    let peer = bed.peer().await;
    let messages = u64::from(peer.ready("celeriac").await);

    let journal = tempfile::NamedTempFile::new().unwrap();
    let variables = [
        ("CELERIAC__BROKER__URL", bed.amqp_url()),
        ("CELERIAC__RESULTS__URL", bed.database_url()),
        ("JOURNAL", journal.path().to_string_lossy().into_owned()),
    ];
    let arguments = ["worker", "-l", "warn", "-c", "1", "--prefetch", "1"];
    let mut worker = Program::start(PROGRAM, &arguments, &variables);
    eventually_within(
        Duration::from_secs(300),
        "everything is run",
        async || peer.ready("celeriac").await,
        |ready| *ready == 0,
    )
    .await;
    let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
    let mut database = bed.database().await;
    let ended = async || sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut database).await.unwrap();
    eventually("every task has its row", ended, |rows| u64::try_from(*rows).unwrap() == count).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());

    let mut of_key: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut runs = 0;
    for line in std::fs::read_to_string(journal.path()).unwrap().lines() {
        let number: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        of_key.entry(number % KEYS).or_default().push(number);
        runs += 1;
    }
    println!("relays killed {kills}: written {count}, sent {messages}, run {runs}, copies {}", messages - count);
    for (key, numbers) in &of_key {
        assert!(numbers.is_sorted(), "key {key}: {numbers:?}");
    }
    assert_eq!(runs, count, "nothing is missing, and no copy has run");
    client.close().await;
    bed.clear().await;
}
