//! The relay is killed again and again.

use std::collections::HashMap;
use std::time::Duration;

use celeriac::sqlx::{self, Connection};
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Program};
use tokio_util::sync::CancellationToken;

use crate::ledger::{is_long, note};
use crate::worker_killed::PROGRAM;

const KEYS: u64 = 20;

/// Runs one relay after another until `done`; how many were killed.
async fn keep_killing(bed: &Bed, done: &CancellationToken) -> u32 {
    let variables = [("CELERIAC__BROKER__URL", bed.amqp_url()), ("CELERIAC__RESULTS__URL", bed.database_url())];
    let mut kills = 0;
    loop {
        let mut relay = Program::start(PROGRAM, &["relay", "-l", "info"], &variables);
        relay.says("relaying the outbox").await;
        let life = Duration::from_millis(fastrand::u64(100..1_200));
        if done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
            relay.signal("TERM");
            assert_eq!(relay.exit_code(Duration::from_secs(40)).await, 0, "{}", relay.output());
            return kills;
        }
        relay.kill().await;
        kills += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_sent_in_the_order_of_its_key_although_the_relay_is_killed_again_and_again() {
    let count: u64 = if is_long() { 50_000 } else { 2_000 };
    let bed = Bed::new().await;
    let client = bed.program([]).build().unwrap().client().await.unwrap();
    let done = CancellationToken::new();
    let write = async {
        let mut database = bed.database().await;
        for number in 0..count {
            let mut tx = database.begin().await.unwrap();
            let call = note(number).ordered_by(format!("key-{}", number % KEYS));
            client.submit_in(&mut tx, call).await.unwrap();
            tx.commit().await.unwrap();
        }
        let left = "SELECT waiting FROM celeriac.outbox_lag";
        let left = async || sqlx::query_scalar::<_, i64>(left).fetch_one(&mut database).await.unwrap();
        eventually_within(Duration::from_secs(300), "everything is sent", left, |left| *left == 0).await;
        done.cancel();
    };
    let (kills, ()) = tokio::join!(keep_killing(&bed, &done), write);
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
    assert!(kills > 1, "the test has to kill to mean anything");
    client.close().await;
    bed.clear().await;
}
