//! One task among thousands crashes every worker that runs it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use celeriac::DynamicCall;
use celeriac_client::Client;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually_within;
use futures::future::join_all;
use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;

const WORKERS: usize = 4;

#[celeriac_tests::test(real, threads = 2)]
async fn poison_on_a_quorum_queue_is_quarantined_and_all_others_end(bed: Bed) {
    let told = poison_among_good_ones(bed, "quorum").await;
    println!("{}", told.line);
    told.check();
}

#[celeriac_tests::test(real, threads = 2)]
async fn poison_on_a_classic_queue_is_quarantined_and_all_others_end(bed: Bed) {
    let told = poison_among_good_ones(bed, "classic").await;
    println!("{}", told.line);
    told.check();
}

/// The result of the test.
struct Told {
    line: String,
    good: i64,
    /// Runs of the crashing task, and lost workers.
    ran: (usize, u32),
    /// Tasks that were quarantined, and tasks that succeeded.
    ended: (i64, i64),
    /// Messages left on the queue, and on its dead-letter queue.
    left: (u32, u32),
}

impl Told {
    fn check(&self) {
        assert_eq!((self.ran, self.ended, self.left), ((5, 5), (1, self.good), (0, 1)));
    }
}

async fn poison_among_good_ones(bed: Bed, kind: &str) -> Told {
    let good: i64 = if is_long() { 10_000 } else { 1_000 };
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let client = bed.client(bed.program([]).set("queues.celeriac.type", kind)).await;
    let variables =
        [("CELERIAC__QUEUES__CELERIAC__TYPE", kind.to_owned()), ("JOURNAL", journal.to_string_lossy().into_owned())];
    let (deaths, done) = (AtomicU32::new(0), CancellationToken::new());
    let workers = (0..WORKERS).map(|number| keep_running(&bed, number, &variables, &deaths, &done));
    let began = Instant::now();
    let (_, poison) = tokio::join!(join_all(workers), async {
        let poison = send(&client, good).await;
        let ended = async || rows(&bed, "true").await;
        let patience = Duration::from_secs(300);
        eventually_within(patience, "every task has ended", ended, |ended| *ended == good + 1).await;
        done.cancel();
        poison
    });
    let took = began.elapsed();
    let succeeded = rows(&bed, "state = 'SUCCESS'").await;
    let quarantined = rows(&bed, "state = 'FAILURE' AND error_kind = 'WorkerLostError'").await;
    let ran = (begun(&journal, &poison), deaths.load(Ordering::Relaxed));
    let line = format!(
        "poison among {good} on {WORKERS} workers, {kind} queue: it ran {} times, workers lost {}, quarantined \
         {quarantined}, the rest done {succeeded}, all within {:.1} s",
        ran.0,
        ran.1,
        took.as_secs_f64(),
    );
    let peer = bed.peer().await;
    let left = (peer.ready("celeriac").await, peer.ready("celeriac.dead").await);
    Told { line, good, ran, ended: (quarantined, succeeded), left }
}

/// Sends harmless tasks of all lengths, and the crashing task among them. Returns its id.
async fn send(client: &Client, good: i64) -> String {
    let call = |task: &str, milliseconds| DynamicCall {
        task: task.to_owned(),
        body: Body { args: vec![Value::Int(milliseconds)], ..Body::default() },
        options: CallOptions::default(),
    };
    // Most take a moment. One in fifty runs long enough to be beside the crashing task repeatedly.
    let rest = |number: i64| call("test.rest", if number % 50 == 0 { 1_500 } else { number % 40 });
    let sent = async |numbers: std::ops::Range<i64>| {
        let sending = stream::iter(numbers).map(|number| client.submit_dynamic(rest(number))).buffer_unordered(256);
        sending.for_each(async |sent| drop(sent.unwrap())).await;
    };
    sent(0..good / 2).await;
    let poison = client.submit_dynamic(call("test.abort", 100)).await.unwrap();
    sent(good / 2..good).await;
    poison.id().to_owned()
}

/// Runs a worker, and another after each death, until `done`.
async fn keep_running(
    bed: &Bed,
    number: usize,
    variables: &[(&str, String)],
    deaths: &AtomicU32,
    done: &CancellationToken,
) {
    loop {
        let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", &format!("w{number}")], variables);
        if done.run_until_cancelled(worker.ended()).await.is_some() {
            deaths.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        worker.says("  tasks").await;
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
        return;
    }
}

fn begun(journal: &Path, id: &str) -> usize {
    let lines = std::fs::read_to_string(journal).unwrap_or_default();
    lines.lines().filter(|line| line.strip_suffix(" begun") == Some(id)).count()
}

async fn rows(bed: &Bed, condition: &str) -> i64 {
    let rows = format!(
        "SELECT count(*) FROM celeriac.tasks
         WHERE state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED') AND {condition}"
    );
    let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_one(&mut bed.database().await).await;
    rows.unwrap_or(0)
}
