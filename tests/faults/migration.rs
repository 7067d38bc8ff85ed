//! A queue is moved to one of another type while tasks are sent to it.

use std::path::Path;
use std::time::Duration;

use celeriac::{Builder, tasks};
use celeriac_tests::{Bed, Program, eventually};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, is_long, note};

/// Returns a configuration with one queue, for notes.
fn configuration(queue: &str, options: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "exchanges: {{ notes: {{ type: topic }} }}\n\
         default_queue: {queue}\n\
         queues: {{ {queue}: {{ {options}, bindings: [{{ exchange: notes, routing_key: \"#\" }}] }} }}\n"
    );
    std::fs::write(directory.path().join("routes.yaml"), text).unwrap();
    directory
}

fn program(bed: &Bed, directory: &Path) -> Builder {
    bed.program(tasks![note]).config_if_present(directory)
}

fn migrate(bed: &Bed, directory: &Path, more: &[&str]) -> Program {
    let directory = directory.to_str().unwrap();
    let line = ["--config", directory, "topology", "migrate", "old", "--to", "new", "--yes", "--json"];
    bed.process(&[&line, more].concat())
}

/// Waits for the end of a migration. Returns its report.
async fn finished(mut migration: Program) -> serde_json::Value {
    let code = migration.exit_code(Duration::from_secs(300)).await;
    let said = migration.rest().await;
    assert_eq!(code, 0, "{said}");
    let json = said.find("{\n").map(|at| &said[at..]).unwrap_or_default();
    serde_json::from_str(json).unwrap()
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_classic_queue_becomes_a_quorum_queue_under_load_with_equal_counts(bed: Bed) {
    let count = if is_long() { 100_000 } else { 20_000 };
    let (before, after) = (configuration("old", "type: classic"), configuration("new", "type: quorum"));
    let sender = bed.client(program(&bed, before.path())).await;
    let mut ledger = Ledger::default();
    ledger.issue(&sender, count).await;
    let waiting = ledger.issued();

    let done = CancellationToken::new();
    let load = async {
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        while done.run_until_cancelled(beat.tick()).await.is_some() {
            ledger.issue(&sender, 20).await;
        }
    };
    // Messages still name the old queue. The next call moves those that arrive after the first.
    let ((), first) = tokio::join!(load, async {
        let first = finished(migrate(&bed, after.path(), &[])).await;
        done.cancel();
        first
    });
    let second = finished(migrate(&bed, after.path(), &["--delete"])).await;
    assert_eq!(second["deleted"], true, "{first} {second}");
    let peer = bed.peer().await;
    let issued = u32::try_from(ledger.issued()).unwrap();
    let arrived = eventually("all to be counted", async || peer.ready("new").await, |ready| *ready >= issued).await;
    println!(
        "{waiting} waited, {} were sent meanwhile: moved {} and {}, on the new queue {arrived}",
        ledger.issued() - waiting,
        first["moved"],
        second["moved"]
    );
    assert_eq!((ledger.unconfirmed, arrived), (0, issued));

    bed.start(program(&bed, after.path())).await;
    assert_eq!(ledger.settle(&bed, Duration::from_secs(300)).await, ledger.issued());
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_migration_that_is_killed_again_and_again_loses_nothing(bed: Bed) {
    /// Messages that may be on both queues after a kill.
    const WINDOW: u32 = 512;
    const KILLS: u32 = 4;
    let (before, after) = (configuration("old", "type: classic"), configuration("new", "type: quorum"));
    let sender = bed.client(program(&bed, before.path())).await;
    let mut ledger = Ledger::default();
    ledger.issue(&sender, 60_000).await;
    for _ in 0..KILLS {
        let mut migration = migrate(&bed, after.path(), &["--delete"]);
        migration.says("10000 moved").await;
        migration.kill().await;
    }
    let last = finished(migrate(&bed, after.path(), &["--delete"])).await;
    let last = if last["deleted"] == true { last } else { finished(migrate(&bed, after.path(), &["--delete"])).await };
    assert_eq!(last["deleted"], true, "{last}");
    let peer = bed.peer().await;
    let issued = u32::try_from(ledger.issued()).unwrap();
    let arrived = eventually("all to be counted", async || peer.ready("new").await, |ready| *ready >= issued).await;
    println!("killed {KILLS} times: {issued} messages, {} of them twice", arrived - issued);
    assert!(arrived - issued <= KILLS * WINDOW, "{arrived} of {issued}");

    bed.start(program(&bed, after.path())).await;
    assert_eq!(ledger.settle(&bed, Duration::from_secs(300)).await, ledger.issued());
}

#[celeriac_tests::test(real)]
async fn a_queue_that_is_consumed_is_drained_and_kept(bed: Bed) {
    let (before, after) = (configuration("old", "type: classic"), configuration("new", "type: quorum"));
    let consuming = bed.start(program(&bed, before.path())).await;
    note(0).submit(&consuming.client).await.unwrap().get().await.unwrap();
    let left = finished(migrate(&bed, after.path(), &["--delete"])).await;
    assert_eq!(left["deleted"], false, "{left}");
    assert!(left["left"].as_str().unwrap().contains("still has consumers"), "{left}");
    // Messages through the exchange, and delayed ones for the old name, arrive on the new queue.
    let handle = note(1).exchange("notes").routing_key("any").submit(&consuming.client).await.unwrap();
    let late = note(2).delay(Duration::from_secs(1)).submit(&consuming.client).await.unwrap();
    let peer = bed.peer().await;
    eventually("both to arrive", async || peer.ready("new").await, |ready| *ready == 2).await;
    bed.start(program(&bed, after.path())).await;
    assert_eq!((handle.get().await.unwrap(), late.get().await.unwrap()), (1, 2));
}
