//! Transactional tasks: effects and outcome are committed together.

use std::sync::Arc;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{PgConnection, sqlx};
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Running};
use serde_json::json;
use sqlx::postgres::PgListener;
use sqlx::{Connection, Row};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Lets a task continue.
struct Gate(Semaphore);

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self(Semaphore::new(0)))
    }
}

/// Records a number, in the transaction.
#[task(name = "t.pay", transactional)]
async fn pay(ctx: TaskContext, tx: &mut PgConnection, order: i64) -> TaskResult<i64> {
    effect(tx, order, ctx.id()).await?;
    Ok(order * 2)
}

/// Records a number, and fails at its first attempts.
#[task(name = "t.pay_late", transactional, max_retries = 2, retry_backoff = "10ms..20ms")]
async fn pay_late(ctx: TaskContext, tx: &mut PgConnection, order: i64, succeeds_at: u32) -> TaskResult<u32> {
    effect(tx, order, ctx.id()).await?;
    match ctx.attempt() {
        attempt if attempt >= succeeds_at => Ok(attempt),
        attempt => Err(TaskError::new(format!("attempt {attempt} failed"))),
    }
}

/// Records a number, signals that, and waits for the gate.
#[task(name = "t.pay_slowly", transactional)]
async fn pay_slowly(ctx: TaskContext, tx: &mut PgConnection, order: i64) -> TaskResult<()> {
    effect(tx, order, ctx.id()).await?;
    let gate = ctx.state::<Gate>()?;
    gate.0.acquire().await?.forget();
    Ok(())
}

/// Ends its transaction in one of several forbidden ways.
#[task(name = "t.meddle", transactional)]
async fn meddle(ctx: TaskContext, tx: &mut PgConnection, how: String) -> TaskResult<()> {
    effect(tx, 1, ctx.id()).await?;
    match how.as_str() {
        "commit" => run(tx, "COMMIT").await?,
        "begin anew" => run(tx, "COMMIT; BEGIN").await?,
        "rollback" => run(tx, "ROLLBACK").await?,
        "go on after an error" => drop(sqlx::query("SELECT 1 / 0").execute(&mut *tx).await),
        "break a promise" => {
            sqlx::query("INSERT INTO promises (effect) VALUES (-1)").execute(&mut *tx).await?;
        }
        _ => panic!("{how}"),
    }
    Ok(())
}

async fn run(tx: &mut PgConnection, statement: &'static str) -> sqlx::Result<()> {
    sqlx::raw_sql(statement).execute(&mut *tx).await.map(|_| ())
}

/// Uses savepoints, which is allowed.
#[task(name = "t.savepoints", transactional)]
async fn savepoints(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    let mut kept = tx.begin().await?;
    effect(&mut kept, 1, ctx.id()).await?;
    kept.commit().await?;
    let mut dropped = tx.begin().await?;
    effect(&mut dropped, 2, ctx.id()).await?;
    drop(dropped);
    Ok(())
}

async fn effect(tx: &mut PgConnection, order: i64, task: &str) -> sqlx::Result<()> {
    let note = sqlx::query("INSERT INTO effects (number, task) VALUES ($1, $2)").bind(order).bind(task);
    note.execute(tx).await.map(drop)
}

/// A worker of these tasks, with a table for their effects.
struct Books {
    bed: Bed,
    running: Running,
    gate: Arc<Gate>,
}

impl Books {
    async fn open(bed: &Bed) -> Self {
        Self::with(bed, |program| program).await
    }

    async fn with(bed: &Bed, more: impl FnOnce(celeriac::Builder) -> celeriac::Builder) -> Self {
        let gate = Gate::closed();
        let tables = "CREATE TABLE effects (number bigint, task text);
             ALTER TABLE effects ADD PRIMARY KEY (number, task) DEFERRABLE;
             CREATE TABLE promises (effect bigint CHECK (effect < 0), task text);
             CREATE TABLE kept (id bigint PRIMARY KEY);
             ALTER TABLE promises ADD FOREIGN KEY (effect) REFERENCES kept (id) DEFERRABLE INITIALLY DEFERRED";
        sqlx::raw_sql(tables).execute(&mut bed.database().await).await.unwrap();
        let tasks = tasks![pay, pay_late, pay_slowly, meddle, savepoints];
        let program = bed.program(tasks).shared(Arc::clone(&gate)).set("client.result_timeout", "40s");
        let running = bed.start(more(program)).await;
        Self { bed: bed.clone(), running, gate }
    }

    fn client(&self) -> &Client {
        &self.running.client
    }

    async fn effects(&self) -> Vec<(i64, String)> {
        let rows = sqlx::query("SELECT number, task FROM effects ORDER BY 1, 2");
        let rows = rows.fetch_all(&mut self.bed.database().await).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn close(self) {
        self.running.stop().await;
        assert_eq!(self.bed.peer().await.ready("celeriac").await, 0, "all is acknowledged");
    }
}

#[celeriac_tests::test(real)]
async fn effects_and_outcome_are_committed_together(bed: Bed) {
    let books = Books::open(&bed).await;
    let handle = pay(7).task_id("one").submit(books.client()).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 14);
    let row = handle.record().await.unwrap().unwrap();
    assert_eq!((row.state, row.attempts, row.args.as_deref()), (TaskState::Success, 1, Some("[7]")));
    let written = "SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM effects UNION ALL SELECT xmin FROM celeriac.tasks) rows";
    let writers: i64 = sqlx::query_scalar(written).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(writers, 1, "one transaction has written both");
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn who_waits_is_told_at_once_although_the_commit_itself_notifies_nobody(bed: Bed) {
    let books = Books::open(&bed).await;
    let mut listener = PgListener::connect(&bed.database_url()).await.unwrap();
    listener.listen("celeriac_finished").await.unwrap();
    let pay_and_say_who = pay(7).task_id("one").submit(books.client()).await.unwrap();
    let told = timeout(Duration::from_secs(10), listener.recv()).await.unwrap().unwrap();
    // The outcome is sealed.
    assert!(told.payload().starts_with("one\n\t"), "{}", told.payload());
    let row = pay_and_say_who.record().await.unwrap().unwrap();
    assert_eq!(row.state, TaskState::Success, "the row stands before anybody is told");
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn an_end_that_nobody_announces_is_found_all_the_same_while_others_are_announced(bed: Bed) {
    let books = Books::open(&bed).await;
    let mut database = bed.database().await;
    let handle = books.client().handle::<i64>("silent");
    let lost = async {
        // A worker that is killed between its commit and the announcement leaves this row.
        let row = "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, result, finished_at)
                   VALUES ('silent', 'test.pay', 'SUCCESS', '', '', '', 'gone', 1, '7', now())";
        sqlx::raw_sql(row).execute(&mut database).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sqlx::raw_sql("NOTIFY celeriac_finished, 'another'").execute(&mut database).await.unwrap();
        }
    };
    // The first check of the wait comes before the row.
    let mut waits = std::pin::pin!(handle.get());
    assert!(timeout(Duration::from_millis(500), &mut waits).await.is_err());
    tokio::select! {
        result = waits => assert_eq!(result.unwrap(), 7),
        () = lost => {}
    }
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn a_failed_attempt_leaves_its_row_and_nothing_else(bed: Bed) {
    let books = Books::open(&bed).await;
    let handle = pay_late(1, 3).task_id("late").submit(books.client()).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 3);
    let never = pay_late(2, 9).task_id("never").submit(books.client()).await.unwrap();
    assert_eq!(never.wait().await.unwrap().state, TaskState::Failure);
    assert_eq!(books.effects().await, [(1, "late".to_owned())], "of the attempt that succeeded, and no other");
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn of_two_runs_at_once_one_alone_leaves_anything(bed: Bed) {
    let books = Books::open(&bed).await;
    let first = pay_slowly(1).task_id("twin").submit(books.client()).await.unwrap();
    pay_slowly(2).task_id("twin").submit(books.client()).await.unwrap();
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    let mut database = bed.database().await;
    let both = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("both are in the middle of it", both, |open| *open == 2).await;
    books.gate.0.add_permits(2);
    first.get().await.unwrap();
    let gone = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("both have ended", gone, |open| *open == 0).await;
    assert_eq!(books.effects().await.len(), 1);
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn a_success_that_comes_after_another_end_leaves_nothing(bed: Bed) {
    let books = Books::open(&bed).await;
    let slow = pay_slowly(1).task_id("revoked").submit(books.client()).await.unwrap();
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    let mut database = bed.database().await;
    let begun = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("it has begun", begun, |open| *open == 1).await;
    let end =
        "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, finished_at)
               VALUES ('revoked', 't.pay_slowly', 'REVOKED', 'celeriac', '', '', 'another', 1, now())";
    sqlx::query(end).execute(&mut bed.database().await).await.unwrap();
    books.gate.0.add_permits(1);
    assert_eq!(slow.wait().await.unwrap().state, TaskState::Revoked);
    let gone = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("it has ended", gone, |open| *open == 0).await;
    assert_eq!(books.effects().await, []);
    assert_eq!(slow.record().await.unwrap().unwrap().state, TaskState::Revoked);
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn what_meddles_with_its_transaction_fails_and_says_why(bed: Bed) {
    let books = Books::open(&bed).await;
    let cases = [
        ("commit", "the task ended its transaction: only the worker may do so", 1),
        ("begin anew", "the task ended its transaction: only the worker may do so", 1),
        ("rollback", "the task ended its transaction: only the worker may do so", 0),
        ("go on after an error", "a statement failed, and the task continued", 0),
        ("break a promise", "violates foreign key constraint", 0),
    ];
    for (how, reason, stays) in cases {
        let handle = meddle(how.to_owned()).submit(books.client()).await.unwrap();
        let row = handle.wait().await.unwrap();
        let failure = row.failure.unwrap();
        assert_eq!((row.state, failure.kind.as_str()), (TaskState::Failure, "TransactionError"), "{how}");
        assert!(failure.message.contains(reason), "{how}: {failure}");
        assert_eq!(row.args, Some(json!([how]).to_string()), "{how}");
        let mut database = bed.database().await;
        let effects = sqlx::query("DELETE FROM effects").execute(&mut database).await.unwrap().rows_affected();
        assert_eq!(effects, stays, "{how}");
    }
    let fine = savepoints().task_id("fine").submit(books.client()).await.unwrap();
    fine.get().await.unwrap();
    assert_eq!(books.effects().await, [(1, "fine".to_owned())], "savepoints are its own affair");
    books.close().await;
}

/// Makes its own transaction read-only, and writes.
#[task(name = "t.write_read_only", transactional)]
async fn write_read_only(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    ctx.state::<Gate>()?.0.add_permits(1);
    run(tx, "SET TRANSACTION READ ONLY").await?;
    run(tx, "CREATE TABLE effects_of_a_reader (id text)").await?;
    Ok(())
}

#[celeriac_tests::test(real)]
async fn a_task_that_makes_its_own_transaction_read_only_fails_after_a_few_runs(bed: Bed) {
    let runs = Gate::closed();
    let running = bed.start(bed.program(tasks![write_read_only]).shared(Arc::clone(&runs))).await;
    let failure = write_read_only().submit(&running.client).await.unwrap().get().await.unwrap_err().to_string();
    assert!(failure.contains("read-only transaction"), "{failure}");
    assert_eq!(runs.0.available_permits(), 4);
}

/// Makes the later transactions of its session read-only.
#[task(name = "t.leave_read_only", transactional)]
async fn leave_read_only(_ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<()> {
    Ok(run(tx, "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY").await?)
}

#[celeriac_tests::test(real)]
async fn a_task_that_leaves_its_session_read_only_hinders_no_other(bed: Bed) {
    let books =
        Books::with(&bed, |program| program.tasks(tasks![leave_read_only]).set("results.pool.max_transactions", "1"));
    let books = books.await;
    leave_read_only().submit(books.client()).await.unwrap().get().await.unwrap();
    assert_eq!(pay(2).task_id("next").submit(books.client()).await.unwrap().get().await.unwrap(), 4);
    assert_eq!(books.effects().await, [(2, "next".to_owned())]);
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn a_transaction_that_is_cut_short_is_rolled_back_and_its_connection_is_not_used_again(bed: Bed) {
    let books = Books::with(&bed, |program| program.set("results.pool.max_transactions", "1")).await;
    let limited = pay_slowly(1).task_id("limited").time_limit(Duration::from_millis(300));
    let row = limited.submit(books.client()).await.unwrap().wait().await.unwrap();
    assert_eq!(row.failure.unwrap().kind, "TimeLimitExceeded");
    assert_eq!(pay(2).task_id("next").submit(books.client()).await.unwrap().get().await.unwrap(), 4);
    assert_eq!(books.effects().await, [(2, "next".to_owned())]);
    books.close().await;
}

#[celeriac_tests::test(real)]
async fn a_row_is_written_even_where_nobody_wants_the_result(bed: Bed) {
    let books = Books::open(&bed).await;
    let handle = pay(3).task_id("quiet").ignore_result().submit(books.client()).await.unwrap();
    let found = eventually("its row", async || handle.record().await.unwrap(), Option::is_some).await.unwrap();
    assert_eq!((found.state, found.result), (TaskState::Success, None));
    books.close().await;
}

#[tokio::test]
async fn a_store_without_transactions_is_refused_at_the_start() {
    for url in ["sqlite://without-transactions?mode=memory", "none", "rpc://"] {
        let app = Celeriac::builder()
            .environment(celeriac_config::Environment::default())
            .set("broker.url", "memory://without-transactions")
            .set("results.url", url)
            .tasks(tasks![pay])
            .build()
            .unwrap();
        let error = app.worker(app.client().await.unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("task `t.pay` is transactional, and results.url is no Postgres"),
            "{url}: {error}"
        );
    }
}
