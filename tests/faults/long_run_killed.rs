//! A worker is killed between the steps that return the message of a long run to its queue: lease,
//! publish, acknowledgement.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_tests::peer::Found;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects, Program};

use crate::between_steps::Proxied;

/// RabbitMQ's timeout, as the workers know it. The message returns after half of it.
const TIMEOUT: &str = "8s";

/// Declared here. The test program runs them.
#[task(name = "test.effect_once_told")]
async fn effect_once_told(path: String);

#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// The step of the first worker that is never done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Lease,
    Publish,
    Acknowledgement,
    /// All are done.
    End,
}

impl Before {
    /// Returns `true` if the run is on record when the worker dies.
    fn has_lease(self) -> bool {
        self != Self::Lease
    }

    /// Returns the number of messages of the task that are on the broker when the worker is dead.
    fn messages(self) -> usize {
        match self {
            Self::Lease | Self::Publish | Self::End => 1,
            Self::Acknowledgement => 2,
        }
    }
}

/// A worker in a process of its own, with these URLs of broker and database.
async fn worker(proxied: &Proxied, name: &str, [broker, database]: [String; 2]) -> Program {
    let variables = [
        ("CELERIAC__BROKER__URL", broker),
        ("CELERIAC__BROKER__CONSUMER_TIMEOUT", TIMEOUT.to_owned()),
        ("CELERIAC__RESULTS__URL", database),
        ("CELERIAC__RESULTS__TCP_USER_TIMEOUT", "3s".to_owned()),
        ("CELERIAC__RESULTS__CONNECT_TIMEOUT", "2s".to_owned()),
    ];
    let mut worker = proxied.bed.process_with(&["worker", "-l", "debug", "-n", name], &variables);
    worker.says("worker ready").await;
    worker
}

/// Returns the worker of each lease that has not ended.
async fn leases(bed: &Bed) -> Vec<String> {
    let leases = "SELECT worker FROM celeriac.runs WHERE expires_at > now()";
    sqlx::query_scalar(leases).fetch_all(&mut bed.database().await).await.unwrap()
}

/// Lets the first worker come to this step and no further, and kills it.
async fn kill_first(proxied: &Proxied, mut first: Program, before: Before) {
    assert!(leases(&proxied.bed).await.is_empty(), "the message has not returned yet");
    let lease = async || leases(&proxied.bed).await.len();
    match before {
        Before::Lease => {
            proxied.database.hold(true);
            first.says("task awaits result store task=test.effect_once_told id=long work=run").await;
        }
        Before::Publish => {
            proxied.broker.hold(true);
            eventually("the lease", lease, |leases| *leases == 1).await;
        }
        Before::Acknowledgement => {
            // A worker consumes on its first connection, and publishes on the second.
            assert_eq!(proxied.broker.connections(), 2);
            proxied.broker.hold_requests(0);
            first.says("running task returned").await;
        }
        Before::End => {
            first.says("running task returned").await;
            // The message arrives again long after the acknowledgement.
            first.says("task already runs task=test.effect_once_told").await;
        }
    }
    first.kill().await;
    proxied.broker.cut();
    proxied.database.cut();
}

/// Returns the number of messages on the delay levels that ten seconds take.
async fn on_delay_levels(proxied: &Proxied) -> u32 {
    let mut waiting = 0;
    for level in 0..=3 {
        waiting += proxied.peer.ready(&format!("celery_delayed_{level}")).await;
    }
    waiting
}

async fn killed(bed: Bed, before: Before) {
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let proxied = Proxied::new(bed).await;
    let client = proxied.bed.client(proxied.bed.program([])).await;
    let mut first = worker(&proxied, "first", proxied.through()).await;
    // A follow-up opens the connection that publishes.
    let opening =
        effect_exactly(0).link(Signature::new("test.effect_exactly").arg(0).immutable().option("task_id", "b"));
    opening.task_id("a").submit(&client).await.unwrap();
    book.issue(&["a".to_owned(), "b".to_owned()]).await;
    book.settle(Duration::from_secs(30)).await;

    let told = proxied.file("told");
    let next = Signature::new("test.effect_exactly").arg(0).immutable().option("task_id", "next");
    let long = effect_once_told(told.to_string_lossy().into_owned()).link(next);
    let handle = long.task_id("long").submit(&client).await.unwrap();
    book.issue(&["long".to_owned(), "next".to_owned()]).await;
    first.says("task started task=test.effect_once_told").await;
    kill_first(&proxied, first, before).await;
    let expected: &[&str] = if before.has_lease() { &["first"] } else { &[] };
    assert_eq!(leases(&proxied.bed).await, expected);

    let direct = [proxied.bed.amqp_url(), proxied.bed.database_url()];
    let mut second = worker(&proxied, "second", direct).await;
    if before.has_lease() {
        let waits = async || second.output().matches("task already runs task=test.effect_once_told").count();
        eventually("every message waits for the lease", waits, |waits| *waits >= before.messages()).await;
        assert!(!second.output().contains("task started task=test.effect_once_told"), "{}", second.output());
        // The lease of a dead worker lasts for a minute.
        let ended = "UPDATE celeriac.runs SET expires_at = now() WHERE worker = 'first'";
        sqlx::query(ended).execute(&mut proxied.bed.database().await).await.unwrap();
    }
    second.says("task started task=test.effect_once_told").await;
    std::fs::write(told, "").unwrap();
    book.settle(Duration::from_secs(30)).await;
    let left = async || on_delay_levels(&proxied).await + proxied.peer.ready("celeriac").await;
    eventually("no message is left", left, |left| *left == 0).await;
    second.signal("TERM");
    assert_eq!(second.exit_code(Duration::from_secs(40)).await, 0, "{}", second.output());
    // The second message may have been in its worker, or may have sent the callback again, while
    // the worker stopped. Either header makes the next worker read the row first.
    let copies = proxied.peer.take_all("celeriac").await;
    let marked = |copy: &Found| ["celeriac-repeated", "celeriac-suspected"].iter().any(|name| copy.has_header(name));
    assert!(copies.iter().all(marked), "{} messages are left", copies.len());
    assert_eq!(proxied.peer.ready("celeriac.dead").await, 0);

    let row = handle.record().await.unwrap().unwrap();
    assert_eq!((row.state, row.attempts, row.worker.as_ref()), (TaskState::Success, 1, "second"));
    let tally = book.tally().await;
    let runs = second.output().matches("task started task=test.effect_once_told").count();
    println!(
        "long run killed before {before:?}: messages {}, runs of the next worker {runs}: {tally}",
        before.messages()
    );
    assert_eq!((tally.issued, tally.effected, tally.missing, tally.doubled), (4, 4, 0, 0), "{tally}");
    assert_eq!(leases(&proxied.bed).await, Vec::<String>::new());
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_before_the_lease_of_a_long_run_leaves_its_delivery_to_the_next(bed: Bed) {
    killed(bed, Before::Lease).await;
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_between_lease_and_publish_leaves_a_delivery_that_waits_for_the_lease(bed: Bed) {
    killed(bed, Before::Publish).await;
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_between_publish_and_acknowledgement_leaves_two_messages_and_one_effect(bed: Bed) {
    killed(bed, Before::Acknowledgement).await;
}

#[celeriac_tests::test(real)]
async fn a_worker_killed_after_the_acknowledgement_of_a_long_run_leaves_the_message_that_returned(bed: Bed) {
    killed(bed, Before::End).await;
}
