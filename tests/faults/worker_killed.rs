//! A worker is killed every few seconds.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use celeriac::tasks;
use celeriac_tests::Bed;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, is_long, note};

#[celeriac_tests::test(real, threads = 2)]
async fn every_confirmed_task_has_one_row_although_its_worker_is_killed_again_and_again(bed: Bed) {
    let count = if is_long() { 500_000 } else { 15_000 };
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let client = bed.client(bed.program(tasks![note])).await;
    let mut ledger = Ledger::default();
    let done = CancellationToken::new();

    let (kills, recorded) = tokio::join!(keep_killing(&bed, journal.to_str().unwrap(), 1_000..3_000, &done), async {
        ledger.issue(&client, count).await;
        let recorded = ledger.settle(&bed, Duration::from_secs(600)).await;
        done.cancel();
        recorded
    });
    let runs = std::fs::read_to_string(&journal).unwrap();
    let mut times: HashMap<&str, u32> = HashMap::new();
    for line in runs.lines() {
        *times.entry(line.split(' ').next().unwrap_or_default()).or_default() += 1;
    }
    let more_than_once = times.values().filter(|times| **times > 1).count();
    println!(
        "workers killed {kills}: issued {}, recorded {recorded}, executed more than once {more_than_once}, unconfirmed {}",
        ledger.issued(),
        ledger.unconfirmed
    );
    assert_eq!((ledger.unconfirmed, ledger.issued()), (0, usize::try_from(count).unwrap()));
    assert!(kills > 1, "the test has to kill to mean anything");
}

/// Runs one worker after another, each for a random time in milliseconds, until `done`. Returns the
/// number of kills.
///
/// The time of every fourth begins with its process, so that its start is killed too. That of the
/// others begins when they consume: on a busy machine, no worker would do anything.
pub(crate) async fn keep_killing(bed: &Bed, journal: &str, lives: Range<u64>, done: &CancellationToken) -> u32 {
    // A task that these kills hit five times is no poison.
    let variables = [("JOURNAL", journal.to_owned()), ("CELERIAC__WORKER__CRASH_LIMIT", "1000".to_owned())];
    let mut kills = 0;
    loop {
        let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", &format!("w{kills}")], &variables);
        let life = Duration::from_millis(fastrand::u64(lives.clone()));
        if kills % 4 != 3 {
            worker.says("  tasks").await;
        }
        let ended = done.run_until_cancelled(tokio::time::sleep(life)).await.is_none();
        if ended {
            worker.says("  tasks").await;
            worker.signal("TERM");
            assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
            return kills;
        }
        worker.kill().await;
        kills += 1;
    }
}
