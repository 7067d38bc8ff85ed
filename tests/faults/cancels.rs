//! Tasks are revoked and terminated while their workers are killed.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use celeriac::DynamicCall;
use celeriac::prelude::*;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_tests::Bed;
use celeriac_tests::wait::{eventually, eventually_within};
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;

/// Number of tasks revoked in one call.
const PIECE: usize = 25;

#[celeriac_tests::test(real, threads = 2)]
async fn what_was_revoked_before_it_began_never_runs_although_workers_are_killed_again_and_again(bed: Bed) {
    let count: usize = if is_long() { 2_000 } else { 200 };
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let client = bed.client(bed.program([])).await;
    let done = CancellationToken::new();

    let (kills, cancelled) = tokio::join!(keep_killing(&bed, &journal, &done), async {
        let cancelled = cancel(&client, &journal, count).await;
        let ended = async || ended(&bed).await;
        eventually_within(Duration::from_secs(300), "every task has ended", ended, |ended| *ended == count).await;
        done.cancel();
        cancelled
    });
    let begun = begun(&journal);
    let slipped = cancelled.before.iter().filter(|id| begun.contains(*id)).count();
    let states = "SELECT count(*) FROM celeriac.tasks WHERE state = 'REVOKED' AND error_message = $1";
    let mut database = bed.database().await;
    let mut revoked = async |how: &str| -> i64 {
        sqlx::query_scalar(states).bind(how.to_owned()).fetch_one(&mut database).await.unwrap()
    };
    let (before, during) = (revoked("revoked").await, revoked("terminated").await);
    println!(
        "workers killed {kills}: cancelled {count}, {} before they began and {} later; run all the same {slipped}; \
         rows revoked {before}, terminated {during}",
        cancelled.before.len(),
        count - cancelled.before.len(),
    );
    assert_eq!(slipped, 0);
    assert_eq!(usize::try_from(before + during).unwrap(), count);
    assert!(
        kills > 1 && cancelled.before.len() >= count / 4,
        "the test has to kill, and to be early, to mean anything"
    );
}

struct Cancelled {
    /// Tasks that had not started when their revocation returned.
    before: HashSet<String>,
}

/// Sends tasks that end only when they are cancelled, and cancels them: half at once, the others
/// while they run.
async fn cancel(client: &Client, journal: &Path, count: usize) -> Cancelled {
    let mut before = HashSet::new();
    for _ in 0..count / 2 / PIECE {
        let late = send(client).await;
        let early = send(client).await;
        let revoked = async {
            client.revoke(&early).await.unwrap();
            let begun = begun(journal);
            before.extend(early.iter().filter(|id| !begun.contains(*id)).cloned());
            // A started task never ends by itself.
            client.revoke(&early).terminate().await.unwrap();
        };
        let terminated = async {
            let all_begun = async || late.iter().filter(|id| !begun(journal).contains(*id)).count();
            eventually("they run", all_begun, |missing| *missing == 0).await;
            client.revoke(&late).terminate().await.unwrap();
        };
        tokio::join!(revoked, terminated);
    }
    Cancelled { before }
}

async fn send(client: &Client) -> Vec<String> {
    let rest = || DynamicCall {
        task: "test.rest".to_owned(),
        body: Body { args: vec![Value::Int(600_000)], ..Body::default() },
        options: CallOptions::default(),
    };
    let sent = try_join_all((0..PIECE).map(|_| client.submit_dynamic(rest()))).await.unwrap();
    sent.iter().map(|handle| handle.id().to_owned()).collect()
}

fn begun(journal: &Path) -> HashSet<String> {
    let lines = std::fs::read_to_string(journal).unwrap_or_default();
    lines.lines().filter_map(|line| line.strip_suffix(" begun")).map(str::to_owned).collect()
}

async fn ended(bed: &Bed) -> usize {
    let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'REVOKED'";
    let ended = sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut bed.database().await).await.unwrap_or(0);
    usize::try_from(ended).unwrap()
}

/// Runs two workers and kills the older one at intervals, until `done`. Returns the number of
/// kills.
async fn keep_killing(bed: &Bed, journal: &Path, done: &CancellationToken) -> u32 {
    let variables = [
        ("CELERIAC__WORKER__TERMINATE_GRACE", "100ms".to_owned()),
        // On a busy machine a task loses many workers before it is revoked.
        ("CELERIAC__WORKER__CRASH_LIMIT", "1000".to_owned()),
        ("JOURNAL", journal.to_string_lossy().into_owned()),
    ];
    let start = |number: u32| {
        let name = format!("w{number}");
        bed.process_with(&["worker", "-l", "warn", "-c", "16", "-n", &name], &variables)
    };
    let (mut older, mut newer, mut kills) = (start(0), start(1), 0);
    loop {
        let life = Duration::from_millis(fastrand::u64(300..900));
        if done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
            for mut worker in [older, newer] {
                worker.says("  tasks").await;
                worker.signal("TERM");
                assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
            }
            return kills;
        }
        let killed = std::mem::replace(&mut older, std::mem::replace(&mut newer, start(kills + 2)));
        killed.kill().await;
        kills += 1;
    }
}
