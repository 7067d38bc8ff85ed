//! Workers are killed while they run chords.

use std::collections::HashMap;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Chain, ChordHandle, Group};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;
use futures::{StreamExt, stream};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;

/// Kills a worker at intervals, and ends the last one after `done`. Returns the number of kills.
///
/// The same few messages are on every worker that is killed, so each of them would soon be taken
/// for the cause, and runs alone from then on. So there are not many kills for each message.
async fn keep_killing(bed: &Bed, journal: &str, done: &CancellationToken) -> u32 {
    let variables = [("JOURNAL", journal.to_owned()), ("CELERIAC__WORKER__CRASH_LIMIT", "1000".to_owned())];
    let mut kills = 0;
    loop {
        let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", &format!("w{kills}")], &variables);
        worker.says("  tasks").await;
        let rest = kills >= if is_long() { 100 } else { 8 };
        let life = if rest { Duration::MAX } else { Duration::from_millis(fastrand::u64(300..1_000)) };
        if done.run_until_cancelled(tokio::time::sleep(life)).await.is_none() {
            worker.signal("TERM");
            assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
            return kills;
        }
        worker.kill().await;
        kills += 1;
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn every_chord_sends_one_body_with_all_results_in_order_although_workers_are_killed_again_and_again(bed: Bed) {
    let (count, members): (usize, i64) = if is_long() { (1_000, 100) } else { (120, 50) };
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let client = bed.client(bed.program([])).await;
    let done = CancellationToken::new();
    let issue = async {
        let chords = (0..count).map(|chord| {
            let number = move |index: i64| chord as i64 * members + index;
            let header: Group = (0..members).map(|index| Signature::new("test.note").arg(number(index))).collect();
            header.then(Signature::new("test.gather")).submit(&client)
        });
        let chords: Vec<_> = stream::iter(chords).buffered(8).map(Result::unwrap).collect().await;
        let bodies = async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS' AND name = 'test.gather'";
            sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut bed.database().await).await.unwrap_or(0)
        };
        // Kills take most of the time of a slow machine, so only a standstill ends the wait.
        let mut ended = 0;
        while usize::try_from(ended).unwrap() < count {
            let before = ended;
            ended = eventually("more chords end", bodies, |bodies| *bodies > before).await;
        }
        done.cancel();
        chords
    };
    let (kills, chords) = tokio::join!(keep_killing(&bed, journal.to_str().unwrap(), &done), issue);

    let mut runs = HashMap::<String, u32>::new();
    for line in std::fs::read_to_string(&journal).unwrap().lines() {
        *runs.entry(line.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    for (chord, handle) in chords.iter().enumerate() {
        let first = chord as i64 * members;
        let expected: Json = (first..first + members).collect::<Vec<_>>().into();
        assert_eq!(result_of(&bed, handle).await, expected, "all results, in order");
    }
    let mut database = bed.database().await;
    let mut count_of =
        async |rows: &'static str| -> i64 { sqlx::query_scalar(rows).fetch_one(&mut database).await.unwrap() };
    let bodies = count_of("SELECT count(*) FROM celeriac.tasks WHERE name = 'test.gather'").await;
    let all = count_of("SELECT count(*) FROM celeriac.tasks").await;
    let arrivals = count_of("SELECT count(*) FROM celeriac.arrivals WHERE ok").await;
    let tallies = count_of("SELECT sum(ok + failed)::bigint FROM celeriac.tallies").await;
    let twice = chords.iter().filter(|chord| runs.get(chord.id()).is_some_and(|runs| *runs > 1)).count();
    let more_than_once = runs.values().filter(|runs| **runs > 1).count();
    println!(
        "workers killed {kills}: {count} chords of {members}, bodies recorded {bodies}, bodies executed more than once \
         {twice}, tasks executed more than once {more_than_once} of {all}"
    );
    let issued = count as i64 * members;
    assert_eq!((bodies, all), (count as i64, issued + count as i64), "one body each, and nothing is made up");
    assert_eq!((arrivals, tallies), (issued, issued), "each member is counted once");
    assert!(kills > 1, "the test has to kill to mean anything");
    assert_eq!(bed.peer().await.ready("celeriac.dead").await, 0);
}

async fn result_of(bed: &Bed, chord: &ChordHandle) -> Json {
    let result = sqlx::query_scalar::<_, String>("SELECT result::text FROM celeriac.tasks WHERE id = $1");
    let result = result.bind(chord.id()).fetch_one(&mut bed.database().await).await.unwrap();
    serde_json::from_str(&result).unwrap()
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_chord_whose_sender_is_killed_fails_once_and_tells_how_many_members_were_sent(bed: Bed) {
    const MEMBERS: u64 = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let variables = [("JOURNAL", journal.to_string_lossy().into_owned())];
    let mut sender = bed.process_with(&["worker", "-l", "warn", "-n", "sender", "-c", "1"], &variables);
    sender.says("  tasks").await;
    let client = bed.client(bed.program([])).await;
    Chain::new(Signature::new("test.scatter").arg(MEMBERS)).submit(&client).await.unwrap();
    let mut database = bed.database().await;
    let open = "SELECT id FROM celeriac.joins WHERE sealed_at IS NULL";
    let opened = async || sqlx::query_scalar::<_, String>(open).fetch_optional(&mut database).await.unwrap();
    let id = eventually("a chord is open", opened, Option::is_some).await.unwrap();
    sender.kill().await;

    // As a minute later, in which its sender has said nothing.
    let later = "UPDATE celeriac.joins SET due_at = clock_timestamp() WHERE id = $1 AND sealed_at IS NULL";
    let updated = sqlx::query(later).bind(&id).execute(&mut database).await.unwrap();
    assert_eq!(updated.rows_affected(), 1, "its sender was killed before it had sent all members");
    let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", "other"], &variables);
    let body = "SELECT coalesce(tasks.error_message, '') FROM celeriac.joins
        JOIN celeriac.tasks ON tasks.id = body::jsonb #>> '{options,task_id}'
        WHERE joins.id = $1 AND state = 'FAILURE' AND error_kind = 'ChordError'";
    let failed = async || sqlx::query_scalar::<_, String>(body).bind(&id).fetch_optional(&mut database).await.unwrap();
    let error = eventually("its body fails", failed, Option::is_some).await.unwrap();
    let sent = error.strip_prefix("its sender is gone: ").and_then(|rest| rest.strip_suffix(" of 5,000 sent"));
    let sent: u64 = sent.unwrap_or_else(|| panic!("{error}")).replace(',', "").parse().unwrap();
    assert!(sent < MEMBERS, "{error}");
    println!("a killed sender: {error}");

    let peer = bed.peer().await;
    eventually("all members have run", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    let told = format!(" {MEMBERS}");
    let runs = std::fs::read_to_string(&journal).unwrap().lines().filter(|line| line.ends_with(&told)).count();
    assert_eq!(runs, 1, "its errback runs once");
    assert_eq!([peer.ready("celeriac").await, peer.ready("celeriac.dead").await], [0, 0]);
}
