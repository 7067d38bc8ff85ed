//! A sender is killed between the commit of its canvases and their relay.

use std::collections::HashMap;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;

const MEMBERS: u64 = 500;

/// The sender, as this process knows it.
#[task(name = "test.commit_and_abort")]
fn commit_and_abort(members: u64, commits: bool);

#[celeriac_tests::test(real, threads = 2)]
async fn canvases_run_once_if_their_sender_is_killed_after_the_commit_and_never_if_before(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let mut variables = vec![("JOURNAL", journal.to_string_lossy().into_owned())];
    let client = bed.client(bed.program([])).await;
    // No process relays what is committed before the sender is gone.
    variables.push(("CELERIAC__WORKER__RUN_RELAY", "false".to_owned()));
    let mut database = bed.database().await;
    for commits in [false, true] {
        let mut sender = bed.process_with(&["worker", "-l", "warn", "-n", "sender", "-c", "1"], &variables);
        sender.says("  tasks").await;
        commit_and_abort(MEMBERS, commits).submit(&client).await.unwrap();
        sender.ended().await;
        let waiting = "SELECT count(*) FROM celeriac.outbox";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut database).await.unwrap();
        let expected = if commits { 1 + 2 * MEMBERS } else { 0 };
        assert_eq!(u64::try_from(waiting).unwrap(), expected, "commits: {commits}");
    }
    assert!(!journal.exists(), "nothing has run");

    variables.pop();
    let mut worker = bed.process_with(&["worker", "-l", "warn", "-n", "other"], &variables);
    let bodies = "SELECT count(*) FROM celeriac.tasks WHERE name = 'test.gather' AND state = 'SUCCESS'";
    let bodies = async || sqlx::query_scalar::<_, i64>(bodies).fetch_one(&mut database).await.unwrap_or(0);
    eventually("the chord ends", bodies, |bodies| *bodies > 0).await;
    let all = 2 + 2 * MEMBERS + 1;
    let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS' AND name <> 'test.commit_and_abort'";
    let rows = async || sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut database).await.unwrap_or(0);
    eventually("all tasks end", rows, |rows| u64::try_from(*rows).unwrap() >= all).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());

    let mut runs = HashMap::<String, u64>::new();
    for line in std::fs::read_to_string(&journal).unwrap().lines() {
        *runs.entry(line.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    let twice = runs.values().filter(|runs| **runs > 1).count();
    println!("tasks committed and relayed {}, run {}, more than once {twice}", 1 + 2 * MEMBERS, runs.len());
    assert_eq!((runs.len() as u64, twice), (all, 0));
    let result: serde_json::Value =
        sqlx::query_scalar::<_, String>("SELECT result::text FROM celeriac.tasks WHERE name = 'test.gather'")
            .fetch_one(&mut database)
            .await
            .map(|text| serde_json::from_str(&text).unwrap())
            .unwrap();
    assert_eq!(result, serde_json::json!((1..=MEMBERS).collect::<Vec<_>>()), "all results, in order");
}
