//! The tables are migrated while workers write to them.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx;
use celeriac_tests::Bed;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, is_long, note};

/// Undoes the last migrations.
const BEFORE_THE_LAST: &str = "DROP VIEW celeriac.open_joins;
    DROP TABLE celeriac.joins, celeriac.arrivals, celeriac.tallies;
    DROP FUNCTION celeriac.add_join, celeriac.give_up_join, celeriac.open_join, celeriac.touch_join;
    DROP TABLE celeriac.groups;
    DROP FUNCTION celeriac.save_group;
    DROP FUNCTION celeriac.expected_wait;
    ALTER TABLE celeriac.tasks DROP COLUMN fingerprint CASCADE,
        DROP COLUMN error_module, DROP COLUMN error_args, DROP COLUMN custom_state;
    DROP FUNCTION celeriac.set_fingerprint CASCADE;
    DROP FUNCTION celeriac.fingerprint;
    CREATE INDEX tasks_failed ON celeriac.tasks (finished_at) WHERE state IN ('FAILURE', 'REVOKED', 'REJECTED');
    DELETE FROM celeriac.migrations WHERE version >= 18";

/// A migration of a later version, as this version would apply it: one transaction, which holds its
/// locks for a while.
const LATER: &str = "BEGIN; SET LOCAL lock_timeout = '5s';
    ALTER TABLE celeriac.tasks ADD COLUMN IF NOT EXISTS later text NOT NULL DEFAULT 'none';
    ALTER TABLE celeriac.attempts ADD COLUMN IF NOT EXISTS later bigint;
    CREATE INDEX ON celeriac.tasks (later, finished_at);
    INSERT INTO celeriac.migrations VALUES (98, 'later') ON CONFLICT DO NOTHING;
    SELECT pg_sleep(2); COMMIT";

#[celeriac_tests::test(real, threads = 2)]
async fn workers_go_on_while_their_tables_are_migrated(bed: Bed) {
    let rounds = if is_long() { 20 } else { 2 };
    let client = bed.client(bed.program(tasks![note])).await;
    let mut workers = Vec::new();
    for name in ["first", "second"] {
        let mut worker = bed.process(&["worker", "-l", "info", "-n", name]);
        worker.says_within(Duration::from_secs(120), "ready").await;
        workers.push(worker);
    }
    let mut database = bed.database().await;
    let mut ledger = Ledger::default();
    let done = CancellationToken::new();
    let migrate = async {
        for _ in 0..rounds {
            sqlx::raw_sql(BEFORE_THE_LAST).execute(&mut database).await.unwrap();
            let mut setup = bed.process(&["setup"]);
            assert_eq!(setup.exit_code(Duration::from_secs(60)).await, 0, "{}", setup.output());
            sqlx::raw_sql(LATER).execute(&mut database).await.unwrap();
            // A program of an older version starts on the newer tables.
            let mut setup = bed.process(&["setup", "--check"]);
            assert_eq!(setup.exit_code(Duration::from_secs(60)).await, 0, "{}", setup.output());
            sqlx::raw_sql("DELETE FROM celeriac.migrations WHERE version = 98").execute(&mut database).await.unwrap();
        }
        done.cancel();
    };
    tokio::join!(ledger.issue_steadily(&client, 100, &done), migrate);
    let recorded = ledger.settle(&bed, Duration::from_secs(60)).await;
    println!(
        "tables migrated {} times below two workers: issued {}, unconfirmed {}, recorded {recorded}",
        2 * rounds,
        ledger.issued(),
        ledger.unconfirmed
    );
    assert_eq!(ledger.unconfirmed, 0, "{:?}", ledger.trouble);
    for mut worker in workers {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(60)).await, 0, "{}", worker.output());
    }
    client.close().await;
}
