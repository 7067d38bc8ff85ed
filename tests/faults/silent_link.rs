//! The link to a server falls silent, without FIN and RST, and comes back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::{PgConnection, sqlx};
use celeriac_tests::{Bed, Book, Effects, Program, Proxy, eventually};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::connection_cut::server_of;
use crate::ledger::note;

/// Lets a task go on, and records how long its next statement took.
struct Stopwatch {
    gate: Semaphore,
    took: Mutex<Vec<Duration>>,
}

/// Runs a statement, waits, and runs another one.
#[task(name = "t.ask_twice", transactional, max_retries = none, retry_backoff = "100ms..1s")]
async fn ask_twice(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<i32> {
    let watch = ctx.state::<Stopwatch>()?;
    sqlx::query("SELECT 1").execute(&mut *tx).await?;
    watch.gate.acquire().await?.forget();
    let begun = Instant::now();
    let answer = sqlx::query_scalar("SELECT 2").fetch_one(&mut *tx).await;
    watch.took.lock().unwrap().push(begun.elapsed());
    Ok(answer?)
}

/// Fails after the gate, and is tried again.
#[task(name = "t.fail_once", transactional, max_retries = 1, retry_backoff = "10ms")]
async fn fail_once(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<u32> {
    let watch = ctx.state::<Stopwatch>()?;
    sqlx::query("SELECT 1").execute(&mut *tx).await?;
    watch.gate.acquire().await?.forget();
    if ctx.attempt() > 1 { Ok(ctx.attempt()) } else { Err(TaskError::new("not yet")) }
}

/// Succeeds at once.
#[task(name = "t.succeed", transactional)]
async fn succeed(tx: &mut PgConnection) -> TaskResult<()> {
    sqlx::query("SELECT 1").execute(&mut *tx).await?;
    Ok(())
}

/// Records an effect in the transaction of its outcome. Run by the test program.
#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// Sleeps. Run by the test program.
#[task(name = "test.rest")]
async fn rest(milliseconds: u64) -> u64;

fn stopwatch() -> Arc<Stopwatch> {
    Arc::new(Stopwatch { gate: Semaphore::new(0), took: Mutex::default() })
}

/// Waits until this many transactions are open.
async fn open_transactions(bed: &Bed, expected: i64) {
    let mut database = bed.database().await;
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state = 'idle in transaction' AND query = 'SELECT 1'";
    let count = async || sqlx::query_scalar::<_, i64>(open).fetch_one(&mut database).await.unwrap();
    eventually("transactions are open", count, |count| *count == expected).await;
}

/// A proxy, and the URL through it.
async fn behind_proxy(url: &str) -> (Proxy, String) {
    let server = server_of(url);
    let proxy = Proxy::before(server.clone()).await;
    let through = proxy.url(url, &server);
    (proxy, through)
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_statement_of_a_task_on_a_silent_link_ends_within_the_stated_time(bed: Bed) {
    for mode in ["prefer", "disable"] {
        let (proxy, url) = behind_proxy(&bed.database_url()).await;
        let watch = stopwatch();
        let program = bed
            .program(tasks![ask_twice])
            .shared(Arc::clone(&watch))
            .set("results.url", format!("{url}?sslmode={mode}"))
            .set("results.tcp_user_timeout", "3s")
            .set("client.result_timeout", "60s");
        let running = bed.start(program).await;
        let handle = ask_twice().submit(&running.client).await.unwrap();
        open_transactions(&bed, 1).await;

        proxy.hold(true);
        watch.gate.add_permits(100);
        let first = async || watch.took.lock().unwrap().first().copied();
        let took = eventually("its statement has ended", first, Option::is_some).await.unwrap();
        println!("a statement on a silent link, sslmode={mode}: ended after {took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");

        proxy.hold(false);
        assert_eq!(handle.get().await.unwrap(), 2, "it has run again");
        running.stop().await;
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_failed_attempt_frees_its_database_connection_before_its_retry_is_confirmed(bed: Bed) {
    let (proxy, url) = behind_proxy(&bed.amqp_url()).await;
    let watch = stopwatch();
    let program = bed
        .program(tasks![fail_once, succeed])
        .shared(Arc::clone(&watch))
        .set("broker.url", url)
        .set("results.pool.max_transactions", "1");
    let running = bed.start(program).await;
    let client = bed.client(bed.program([]).set("client.result_timeout", "60s")).await;
    let failing = fail_once().submit(&client).await.unwrap();
    open_transactions(&bed, 1).await;
    let waiting = succeed().submit(&client).await.unwrap();
    let peer = bed.peer().await;
    eventually("both are delivered", async || peer.ready("celeriac").await, |ready| *ready == 0).await;

    proxy.hold(true);
    watch.gate.add_permits(2);
    waiting.get().await.unwrap();
    let state = async || failing.record().await.unwrap().map(|row| row.state);
    eventually("its failure is recorded", state, |state| *state == Some(TaskState::Retry)).await;
    proxy.hold(false);
    assert_eq!(failing.get().await.unwrap(), 2);
    running.stop().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn the_loss_of_the_database_is_one_line_and_so_is_its_return(bed: Bed) {
    let (proxy, url) = behind_proxy(&bed.database_url()).await;
    let variables = [
        ("CELERIAC__RESULTS__URL", url),
        ("CELERIAC__RESULTS__TCP_USER_TIMEOUT", "3s".to_owned()),
        ("CELERIAC__RESULTS__CONNECT_TIMEOUT", "2s".to_owned()),
        ("JOURNAL", "/dev/null".to_owned()),
    ];
    let mut worker = bed.process_with(&["worker", "-l", "debug", "-n", "cut-off"], &variables);
    worker.says("relay started").await;
    worker.says("worker ready").await;
    let client = bed.client(bed.program([])).await;
    let resting = rest(1_000).submit(&client).await.unwrap();
    worker.says("task started task=test.rest").await;

    proxy.hold(true);
    let begun = Instant::now();
    let later = note(1).submit(&client).await.unwrap();
    worker.says("result store lost").await;
    let noticed = begun.elapsed();
    worker.says("result store awaited work=revocations").await;
    worker.says("result store awaited work=relay").await;
    println!("database silent: noticed after {noticed:?}");
    assert!(noticed < Duration::from_secs(10), "{noticed:?}");

    proxy.hold(false);
    worker.says("result store restored").await;
    resting.get().await.unwrap();
    assert_eq!(later.get().await.unwrap(), 1);
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0);
    let said = worker.rest().await;
    let warnings: Vec<_> = said.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect();
    // The relay warns if it notices first.
    let (lost, others): (Vec<&str>, Vec<&str>) =
        warnings.iter().copied().partition(|line| line.contains("result store lost store=postgres://"));
    assert_eq!(lost.len(), 1, "{warnings:#?}");
    assert!(others.len() < 2 && others.iter().all(|line| line.contains("relay interrupted")), "{warnings:#?}");
    assert_eq!(said.matches("result store restored").count(), 1, "{said}");
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_without_broker_and_database_hinders_nobody_and_the_ledger_is_exact(bed: Bed) {
    partition(&bed, true, true).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_without_broker_hinders_nobody_and_the_ledger_is_exact(bed: Bed) {
    partition(&bed, true, false).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_worker_without_database_hinders_nobody_and_the_ledger_is_exact(bed: Bed) {
    partition(&bed, false, true).await;
}

/// Lets the links of one of two workers fall silent while both work, and come back.
async fn partition(bed: &Bed, of_broker: bool, of_database: bool) {
    let (broker, amqp) = behind_proxy(&bed.amqp_url()).await;
    let (database, results) = behind_proxy(&bed.database_url()).await;
    let book = Book::open(&bed.database_url(), Effects::Written).await;
    let client = bed.client(bed.program([])).await;
    let arguments = |name| ["worker", "-l", "info", "-n", name, "-c", "8", "--prefetch", "16"];
    let variables = [
        ("CELERIAC__BROKER__URL", amqp),
        ("CELERIAC__BROKER__HEARTBEAT", "2s".to_owned()),
        ("CELERIAC__RESULTS__URL", results),
        ("CELERIAC__RESULTS__TCP_USER_TIMEOUT", "3s".to_owned()),
        ("CELERIAC__RESULTS__CONNECT_TIMEOUT", "2s".to_owned()),
    ];
    let mut lone = bed.process_with(&arguments("cut-off"), &variables);
    let mut other = bed.process(&arguments("other"));
    lone.says("worker ready").await;
    other.says("worker ready").await;

    let done = CancellationToken::new();
    let sending = async {
        let mut beats = tokio::time::interval(Duration::from_millis(200));
        while done.run_until_cancelled(beats.tick()).await.is_some() {
            let sent = client.submit_many((0..20).map(|_| effect_exactly(20))).await;
            let ids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
            book.issue(&ids).await;
        }
    };
    let cutting = async {
        let [before, _] = successes(bed).await;
        worked(bed, [before + 50, 0]).await;
        broker.hold(of_broker);
        database.hold(of_database);
        let (begun, [_, at_others]) = (Instant::now(), successes(bed).await);
        let noticed = notice(&mut lone, begun, of_broker, of_database).await;
        worked(bed, [0, at_others + 300]).await;
        broker.hold(false);
        database.hold(false);
        let [at_lone, _] = successes(bed).await;
        worked(bed, [at_lone + 50, 0]).await;
        done.cancel();
        noticed
    };
    let ((), noticed) = tokio::join!(sending, cutting);
    book.settle(Duration::from_secs(60)).await;
    for worker in [&mut lone, &mut other] {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    }
    let tally = book.tally().await;
    println!("silent links, {noticed}: {tally}");
    assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
    let peer = bed.peer().await;
    assert_eq!([peer.ready("celeriac").await, peer.ready("celeriac.dead").await], [0, 0]);
}

/// Waits until the worker has noticed each silent link. Returns the times.
async fn notice(worker: &mut Program, begun: Instant, of_broker: bool, of_database: bool) -> String {
    let mut noticed = Vec::new();
    for (is_cut, link, line) in
        [(of_broker, "broker", "connection lost"), (of_database, "database", "result store lost")]
    {
        if is_cut {
            worker.says(line).await;
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(15), "{link}: {took:?}");
            noticed.push(format!("{link} noticed after {:.1} s", took.as_secs_f64()));
        }
    }
    noticed.join(", ")
}

/// Returns the number of successes of the lone worker, and of the other.
async fn successes(bed: &Bed) -> [i64; 2] {
    let mut database = bed.database().await;
    let mut counts = [0; 2];
    for (count, name) in counts.iter_mut().zip(["cut-off", "other"]) {
        let successes = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS' AND worker = $1";
        *count = sqlx::query_scalar(successes).bind(name).fetch_one(&mut database).await.unwrap();
    }
    counts
}

/// Waits until both workers have at least this many successes.
async fn worked(bed: &Bed, [lone, other]: [i64; 2]) {
    let enough = |found: &[i64; 2]| found[0] >= lone && found[1] >= other;
    eventually("work goes on", async || successes(bed).await, enough).await;
}
