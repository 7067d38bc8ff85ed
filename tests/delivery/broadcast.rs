//! Broadcasts: messages to every worker.

use celeriac::Builder;
use celeriac::prelude::*;
use celeriac_client::Error;
use celeriac_tests::{Bed, eventually};

/// Fails at its first attempt on the named worker.
#[task(name = "t.reload", max_retries = 2, retry_backoff = "10ms..50ms")]
async fn reload(ctx: TaskContext, fails_on: String) -> TaskResult<String> {
    let worker = ctx.state::<String>()?.to_string();
    if worker == fails_on && ctx.attempt() == 1 {
        return Err(TaskError::new("not yet"));
    }
    Ok(worker)
}

fn program(bed: &Bed, worker: &'static str) -> Builder {
    let program = bed.program(tasks![reload]).set("worker.name", worker).state(worker.to_owned());
    program.set("queues", "{reload: {broadcast: true}}").set("task_routes", "[{task: t.reload, queue: reload}]")
}

#[celeriac_tests::test(real)]
async fn every_worker_runs_it_and_has_an_outcome_of_its_own(bed: Bed) {
    let client = bed.client(program(&bed, "one")).await;

    let nobody = reload("other".to_owned()).submit(&client).await;
    let error = nobody.unwrap_err();
    assert!(error.to_string().contains("t.reload"), "{error}");

    for name in ["one", "other"] {
        bed.start(program(&bed, name)).await;
    }
    let mut database = bed.database().await;
    let queues = eventually(
        "both workers to consume",
        async || bed.management().0.queues(bed.management().1).await,
        |queues: &Vec<(String, u64)>| {
            ["reload.one", "reload.other"].iter().all(|name| queues.contains(&((*name).to_owned(), 1)))
        },
    );
    drop(queues.await);
    let handle = reload("other".to_owned()).submit(&client).await.unwrap();
    let refused = handle.get().await;
    assert!(matches!(&refused, Err(Error::ToAll { id }) if id == handle.id()), "{refused:?}");

    let rows = eventually(
        "both outcomes",
        async || {
            let rows = "SELECT result::text, state::text, attempts FROM celeriac.tasks WHERE parent_id = $1 ORDER BY 1";
            sqlx::query_as::<_, (Option<String>, String, i64)>(rows)
                .bind(handle.id())
                .fetch_all(&mut database)
                .await
                .unwrap()
        },
        |rows: &Vec<_>| rows.len() == 2 && rows.iter().all(|(_, state, _)| state == "SUCCESS"),
    )
    .await;
    let results: Vec<_> = rows.into_iter().map(|(result, _, attempts)| (result.unwrap(), attempts)).collect();
    assert_eq!(results, [("\"one\"".to_owned(), 1), ("\"other\"".to_owned(), 2)]);
}
