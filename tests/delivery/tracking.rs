//! `results.track`: a task that runs has a row, and one that was sent and has not started.

use std::sync::Arc;

use celeriac::prelude::*;
use celeriac::sqlx::{self, PgConnection};
use celeriac_protocol::Signature;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Running};
use tokio::sync::Semaphore;

use crate::command_line::run;
use crate::stage::{Seen, add, flaky};

/// Runs until the test adds a permit.
#[task(name = "t.run_on")]
async fn run_on(ctx: TaskContext, customer: i64) -> TaskResult<i64> {
    ctx.state::<Semaphore>()?.acquire().await.map_err(|error| TaskError::new(error.to_string()))?.forget();
    Ok(customer)
}

/// Does the same in a transaction.
#[task(name = "t.run_on_in", transactional)]
async fn run_on_in(ctx: TaskContext, _tx: &mut PgConnection, customer: i64) -> TaskResult<i64> {
    ctx.state::<Semaphore>()?.acquire().await.map_err(|error| TaskError::new(error.to_string()))?.forget();
    Ok(customer)
}

/// Its sending is tracked, whatever the program's setting is.
#[task(name = "t.announced", track = "sent")]
async fn announced(customer: i64) -> TaskResult<i64> {
    Ok(customer)
}

/// Nothing would replace its row.
#[task(name = "t.ignored", ignore_result)]
async fn ignored() -> TaskResult<()> {
    Ok(())
}

async fn tracked(bed: &Bed, track: &'static str) -> (Running, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let program = bed.program(tasks![run_on, run_on_in, add, flaky]).set("results.track", track);
    (bed.start(program.shared(Arc::clone(&permits)).state(Seen::default())).await, permits)
}

#[celeriac_tests::test(real)]
async fn a_task_that_runs_has_a_row_with_its_worker_and_its_arguments(bed: Bed) {
    let (running, permits) = tracked(&bed, "started").await;
    let client = &running.client;
    let mut database = bed.database().await;
    let plain = run_on(17).task_id("r-1").submit(client).await.unwrap();
    let in_transaction = run_on_in(18).task_id("r-2").submit(client).await.unwrap();
    let look = "SELECT id || ' ' || name || ' ' || attempts || ' ' || args || ' ' || (worker <> '') || ' '
            || (running_seconds BETWEEN 0 AND 60) FROM celeriac.running ORDER BY id";
    let rows = async || sqlx::query_scalar::<_, String>(look).fetch_all(&mut database).await.unwrap();
    let found = eventually("both run", rows, |rows| rows.len() == 2).await;
    assert_eq!(found, ["r-1 t.run_on 1 [17] true true", "r-2 t.run_on_in 1 [18] true true"]);
    assert_eq!(plain.status().await.unwrap(), TaskState::Started);
    let (code, said) = run(&["query", "running"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("r-1") && said.contains("t.run_on_in"), "{said}");
    permits.add_permits(2);
    assert_eq!((plain.get().await.unwrap(), in_transaction.get().await.unwrap()), (17, 18));
    let retried = flaky(3).submit(client).await.unwrap();
    assert_eq!(retried.get().await.unwrap(), 3);
    assert_eq!(retried.attempts().await.unwrap().len(), 3);
    let left = "SELECT count(*) FROM celeriac.unfinished";
    assert_eq!(sqlx::query_scalar::<_, i64>(left).fetch_one(&mut bed.database().await).await.unwrap(), 0);
}

#[celeriac_tests::test(real)]
async fn many_short_tasks_end_as_successes_though_their_starts_are_written(bed: Bed) {
    let (running, _permits) = tracked(&bed, "started").await;
    for handle in running.client.submit_many((0..500).map(|number| add(number, 1))).await {
        handle.unwrap().wait().await.unwrap();
    }
    let states = "SELECT array_agg(DISTINCT state || ' ' || attempts) FROM celeriac.tasks";
    let states: Vec<String> = sqlx::query_scalar(states).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(states, ["SUCCESS 1"]);
}

#[celeriac_tests::test(real)]
async fn by_default_a_task_that_runs_has_no_row(bed: Bed) {
    let (running, permits) = tracked(&bed, "finished").await;
    let runs = run_on(1).submit(&running.client).await.unwrap();
    // The second task ends after the first has started, because a worker starts them in order.
    add(1, 2).submit(&running.client).await.unwrap().get().await.unwrap();
    assert!(runs.record().await.unwrap().is_none());
    permits.add_permits(1);
    assert_eq!(runs.get().await.unwrap(), 1);
}

/// Returns the sent tasks that have not started: id, name, queue, parent.
async fn unstarted(bed: &Bed, expected: usize) -> Vec<String> {
    let look = "SELECT id || ' ' || tasks.name || ' ' || tasks.queue || ' ' || coalesce(parent_id, '-')
        FROM celeriac.unstarted JOIN celeriac.tasks USING (id) WHERE waiting_seconds BETWEEN 0 AND 60 ORDER BY id";
    let mut database = bed.database().await;
    let rows = async || sqlx::query_scalar::<_, String>(look).fetch_all(&mut database).await.unwrap();
    eventually("the rows of sent tasks", rows, |rows| rows.len() == expected).await
}

#[celeriac_tests::test(real)]
async fn a_task_that_was_sent_and_has_not_started_has_a_row_and_an_unknown_one_has_none(bed: Bed) {
    let program = || bed.program(tasks![add, ignored, announced]).set("results.track", "sent");
    let client = bed.client(program()).await;
    let sent = add(1, 2).task_id("s-1").submit(&client).await.unwrap();
    ignored().task_id("s-2").submit(&client).await.unwrap();
    let mut database = bed.database().await;
    let mut transaction = sqlx::Connection::begin(&mut database).await.unwrap();
    client.submit_in(&mut transaction, add(3, 4).task_id("s-3")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(unstarted(&bed, 1).await, ["s-1 t.add celeriac -"], "the relay has not sent the other one");
    assert_eq!(sent.status().await.unwrap(), TaskState::Sent);
    assert_eq!(client.handle::<i64>("s-9").record().await.unwrap(), None, "unknown");
    let relay = bed.process_with(&["relay"], &[("CELERIAC__RESULTS__TRACK", "sent".to_owned())]);
    assert_eq!(unstarted(&bed, 2).await[1], "s-3 t.add celeriac -");
    let (code, said) = run(&["query", "unstarted", "--since", "0s"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("s-1") && said.contains("s-3"), "{said}");
    drop(relay);

    let running = bed.start(program()).await;
    assert_eq!(running.client.handle::<i64>("s-3").get().await.unwrap(), 7);
    assert_eq!(sent.get().await.unwrap(), 3);
    unstarted(&bed, 0).await;
    let sent_at = sent.record().await.unwrap().unwrap().sent_at;
    assert!(sent_at.is_some(), "its own id does not tell the time, and the row keeps it");
}

#[celeriac_tests::test(real)]
async fn a_task_that_a_worker_sends_has_a_row_too(bed: Bed) {
    let running = bed.start(bed.program(tasks![add]).set("results.track", "sent")).await;
    let elsewhere = Signature::new("t.elsewhere").queue("elsewhere").option("task_id", "next");
    bed.peer().await.declare("elsewhere").await;
    let first = add(1, 2).task_id("first").link(elsewhere).submit(&running.client).await.unwrap();
    assert_eq!(first.get().await.unwrap(), 3);
    assert_eq!(unstarted(&bed, 1).await, ["next t.elsewhere elsewhere first"]);
}

#[celeriac_tests::test(real)]
async fn the_option_of_a_task_counts_before_that_of_the_program(bed: Bed) {
    let client = bed.client(bed.program(tasks![add, announced])).await;
    announced(1).task_id("told").submit(&client).await.unwrap();
    add(1, 2).task_id("not-told").submit(&client).await.unwrap();
    assert_eq!(unstarted(&bed, 1).await, ["told t.announced celeriac -"]);
    client.close().await;
    unstarted(&bed, 1).await;
}
