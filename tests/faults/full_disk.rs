//! The database takes no writes for a time: its disk is full, or it is read-only.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{PgConnection, sqlx};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Book, Effects};

use crate::ledger::note;

const TASKS: u32 = 20;

/// Takes effect in the transaction of its outcome.
#[task(name = "t.take_effect", transactional)]
async fn take_effect(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    let effect = sqlx::query("INSERT INTO ledger.effects (id, run, worker) VALUES ($1, '', '')").bind(ctx.id());
    effect.execute(tx).await?;
    Ok(())
}

/// Makes the database refuse each row of an outcome, as a full disk does, and count the refusals.
/// A sequence counts although its transaction is rolled back.
const FILL: &str = "CREATE SEQUENCE refusals;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('refusals');
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
    END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON celeriac.tasks EXECUTE FUNCTION refuse();";

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_wait_for_space_on_the_disk_and_no_delivery_counts(bed: Bed) {
    let program = bed.program(tasks![take_effect, note]).set("queues.celeriac.delivery_limit", "3");
    let running = bed.start(program).await;
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let mut database = bed.database().await;
    sqlx::raw_sql(FILL).execute(&mut database).await.unwrap();
    let sent = running.client.submit_many((0..TASKS).map(|_| take_effect())).await;
    let ids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
    book.issue(&ids).await;
    let plain = note(7).submit(&running.client).await.unwrap();

    // More often for each task than the broker would deliver it.
    let refused = async || {
        sqlx::query_scalar::<_, i64>("SELECT last_value FROM refusals").fetch_one(&mut database).await.unwrap()
    };
    let enough = i64::from(TASKS * 6);
    let refused = eventually("commits were refused", refused, |refused| *refused > enough).await;
    sqlx::raw_sql("DROP TRIGGER full_disk ON celeriac.tasks").execute(&mut database).await.unwrap();

    book.settle(Duration::from_secs(60)).await;
    assert_eq!(plain.get().await.unwrap(), 7);
    let tally = book.tally().await;
    let peer = bed.peer().await;
    let dead = peer.ready("celeriac.dead").await;
    println!("disk full, {refused} writes refused: {tally}, dead {dead}");
    assert_eq!((tally.missing, tally.doubled, dead), (0, 0, 0), "{tally}");
    eventually("all is acknowledged", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn tasks_wait_for_a_read_only_database_and_no_delivery_counts(bed: Bed) {
    let program = bed.program(tasks![take_effect, note]).set("queues.celeriac.delivery_limit", "3");
    let running = bed.start(program).await;
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let mut database = bed.database().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut database).await.unwrap();
    make_read_only(&mut database, &name, true).await;

    let sent = running.client.submit_many((0..u64::from(TASKS)).map(note)).await;
    let handles: Vec<_> = sent.into_iter().map(Result::unwrap).collect();
    let sent = running.client.submit_many((0..TASKS).map(|_| take_effect())).await;
    let ids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
    let peer = bed.peer().await;
    eventually("all are delivered", async || peer.ready("celeriac").await, |ready| *ready == 0).await;
    // The seconds without writes are the fault itself.
    tokio::time::sleep(Duration::from_secs(6)).await;
    make_read_only(&mut database, &name, false).await;

    for handle in handles {
        handle.get().await.unwrap();
    }
    book.issue(&ids).await;
    book.settle(Duration::from_secs(60)).await;
    let tally = book.tally().await;
    let dead = peer.ready("celeriac.dead").await;
    println!("database read-only for 6 s: {tally}, dead {dead}");
    assert_eq!((tally.missing, tally.doubled, dead), (0, 0, 0), "{tally}");
}

/// Runs of `take_effect_late`.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// A session that holds this lock keeps `take_effect_late` in its statement.
const GATE: &str = "SELECT pg_advisory_lock(7001)";

#[task(name = "t.take_effect_late", transactional)]
async fn take_effect_late(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    RUNS.fetch_add(1, Ordering::Relaxed);
    let effect = sqlx::query("INSERT INTO ledger.effects (id, run, worker) VALUES ($1, '', '')").bind(ctx.id());
    effect.execute(&mut *tx).await?;
    sqlx::query("SELECT pg_advisory_xact_lock(7001)").execute(tx).await?;
    Ok(())
}

#[celeriac_tests::test(real, threads = 2)]
async fn runs_in_a_read_only_database_leave_a_task_its_runs_with_a_lost_connection(bed: Bed) {
    let running = bed.start(bed.program(tasks![take_effect_late])).await;
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let mut database = bed.database().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut database).await.unwrap();
    make_read_only(&mut database, &name, true).await;

    let handle = take_effect_late().submit(&running.client).await.unwrap();
    // More runs than may be lost.
    eventually("runs were refused", async || RUNS.load(Ordering::Relaxed), |runs| *runs > 4).await;
    sqlx::raw_sql(GATE).execute(&mut database).await.unwrap();
    make_read_only(&mut database, &name, false).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    let waiting = async || sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut database).await.unwrap();
    eventually("the task is in its statement", waiting, |waiting| *waiting == 1).await;
    sqlx::raw_sql(END_OTHERS).execute(&mut database).await.unwrap();
    drop(database);

    handle.get().await.unwrap();
    assert_eq!(handle.record().await.unwrap().unwrap().attempts, 1);
    let tally = book.tally().await;
    assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
}

const END_OTHERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// Changes the mode of new sessions, and then ends all others.
async fn make_read_only(database: &mut PgConnection, name: &str, read_only: bool) {
    let change = format!("ALTER DATABASE \"{name}\" SET default_transaction_read_only = {read_only}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&mut *database).await.unwrap();
    sqlx::raw_sql(END_OTHERS).execute(database).await.unwrap();
}
