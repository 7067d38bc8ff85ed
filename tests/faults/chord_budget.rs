//! The cost of a large chord beside as many plain tasks, and of long chains and deep chords beside
//! a tenth of them.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::{self, PgConnection};
use celeriac::{Chain, Group};
use celeriac_tests::Bed;
use serde_json::Value as Json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;

/// Time for all tasks of one measurement.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// More memory than an idle worker holds, in KiB.
const MORE: u64 = 30 << 10;

/// Members of the chord: `CHORD_BUDGET` sets another number.
fn members() -> u64 {
    let set = celeriac_config::Environment::from_process().get("CHORD_BUDGET").and_then(|set| set.parse().ok());
    set.unwrap_or(if is_long() { 100_000 } else { 2_000 })
}

fn header(count: u64) -> Group {
    (0..count).map(|number| Signature::new("test.note").arg(number)).collect()
}

async fn ended(database: &mut PgConnection) -> i64 {
    let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
    sqlx::query_scalar(rows).fetch_one(database).await.unwrap()
}

/// Waits until this many tasks have ended.
async fn all_ended(bed: &Bed, count: u64) {
    let mut database = bed.database().await;
    let count = count.cast_signed();
    let waited = async {
        while ended(&mut database).await < count {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("all tasks end");
}

/// Looks again and again for sessions that wait for the row of another one. Returns the waits, and
/// the number of looks. Plain tasks wait too for the turn to notify and for a longer table.
async fn watch_locks(bed: &Bed, done: &CancellationToken) -> (Vec<String>, u32) {
    const WAITS: &str = "SELECT wait_event || ': ' || left(query, 60) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event IN ('transactionid', 'tuple')";
    let (mut database, mut found, mut looks) = (bed.database().await, Vec::new(), 0);
    while done.run_until_cancelled(sleep(Duration::from_millis(10))).await.is_some() {
        found.extend(sqlx::query_scalar::<_, String>(WAITS).fetch_all(&mut database).await.unwrap());
        looks += 1;
    }
    (found, looks)
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_large_chord_costs_little_more_than_its_tasks_and_no_writer_waits_for_another(bed: Bed) {
    let count = members();
    let folder = tempfile::tempdir().unwrap();
    let variables = [("JOURNAL", folder.path().join("journal").to_string_lossy().into_owned())];
    let mut workers = Vec::new();
    for name in ["first", "second"] {
        let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", name], &variables);
        worker.says("  tasks").await;
        workers.push(worker);
    }
    let client = bed.client(bed.program([])).await;
    // Both have run tasks before.
    header(200).submit(&client).await.unwrap();
    all_ended(&bed, 200).await;
    let idle: Vec<_> = workers.iter().map(|worker| worker.resident()).collect();

    let begun = Instant::now();
    header(count).submit(&client).await.unwrap();
    all_ended(&bed, 200 + count).await;
    let plain = begun.elapsed();

    let done = CancellationToken::new();
    let begun = Instant::now();
    let run = async {
        let chord = header(count).then(Signature::new("test.gather")).submit(&client).await.unwrap();
        all_ended(&bed, 200 + 2 * count + 1).await;
        done.cancel();
        (chord, begun.elapsed())
    };
    let ((waits, looks), (chord, took)) = tokio::join!(watch_locks(&bed, &done), run);
    let Json::Array(results) = chord.get_timeout(PATIENCE).await.unwrap() else { panic!("a list") };
    let more: Vec<_> = workers.iter().zip(&idle).map(|(worker, idle)| worker.peak().saturating_sub(*idle)).collect();
    let ratio = took.as_secs_f64() / plain.as_secs_f64();
    println!(
        "{count} plain tasks {:.2} s, a chord of as many {:.2} s: {ratio:.3} times; {} waits for rows in {looks} looks; \
         workers at most {more:?} KiB above idle {idle:?}",
        plain.as_secs_f64(),
        took.as_secs_f64(),
        waits.len()
    );
    assert_eq!(results, (0..count).map(Json::from).collect::<Vec<_>>(), "all results, in order");
    assert!(looks > 0 && waits.is_empty(), "writers wait for each other: {waits:?}");
    assert!(more.iter().all(|more| *more <= MORE), "{more:?} KiB above idle");
    // A short run measures the machine.
    assert!(!is_long() || ratio <= 1.15, "{ratio:.3} times");
    client.close().await;
    for mut worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    }
}

fn see() -> Signature {
    Signature::new("test.note")
}

/// A chain of so many steps.
fn long(steps: u64) -> Chain {
    (1..steps).fold(Chain::new(see().arg(1)), |chain, _| chain.then(see()))
}

/// Chords in each other, so many levels deep. Each has a member of one task, and one with the next
/// level.
fn deep(levels: u64) -> Chain {
    let first = Chain::new(see().arg(1).immutable());
    if levels == 0 {
        return first;
    }
    let members = [Chain::new(see().arg(2).immutable()), deep(levels - 1)];
    // The body gets two results, and ends with a number for the level above.
    first.then(Group::new(members)).then(see().arg(3).immutable())
}

#[celeriac_tests::test(real, threads = 2)]
async fn long_chains_end_and_deep_chords_take_time_in_proportion_to_their_depth(bed: Bed) {
    let (steps, levels) = if is_long() { (1_000, 20) } else { (100, 20) };
    let folder = tempfile::tempdir().unwrap();
    let variables = [("JOURNAL", folder.path().join("journal").to_string_lossy().into_owned())];
    let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", "one"], &variables);
    worker.says("  tasks").await;
    let client = bed.client(bed.program([])).await;
    let time = async |chain: Chain| {
        let begun = Instant::now();
        chain.submit(&client).await.unwrap().get_timeout(PATIENCE).await.unwrap();
        begun.elapsed().as_secs_f64()
    };
    time(long(3)).await;
    let (tenth, whole) = (time(long(steps / 10)).await, time(long(steps)).await);
    let (shallow, full) = (time(deep(levels / 10)).await, time(deep(levels)).await);
    println!(
        "a chain of {steps}: {whole:.2} s, of a tenth: {tenth:.2} s; {levels} levels: {full:.2} s, a tenth: \
         {shallow:.2} s"
    );
    // The steps of a chain travel with it, so a step takes time for all behind it. Twice the
    // proportion leaves room for the machine.
    assert!(full <= 20.0 * shallow.max(0.05), "{full:.2} s beside {shallow:.2} s");
    client.close().await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
}
