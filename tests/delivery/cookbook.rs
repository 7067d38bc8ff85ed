//! Every query of `docs/results.md` runs as it is printed there.

use celeriac::prelude::*;
use celeriac_tests::Bed;
use sqlx::Executor;

#[task(name = "t.once")]
async fn once() -> TaskResult<()> {
    Ok(())
}

#[celeriac_tests::test(real)]
async fn every_query_of_the_cookbook_runs(bed: Bed) {
    let running = bed.worker(tasks![once]).await;
    once().submit(&running.client).await.unwrap().get().await.unwrap();
    let guide = include_str!("../../docs/results.md");
    let queries: Vec<_> = guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(queries.len() >= 10, "the cookbook has {} queries", queries.len());
    let mut database = bed.database().await;
    for query in queries {
        let ran = database.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(query.to_owned()))).await;
        assert!(ran.is_ok(), "{query}\n{ran:?}");
    }
}
