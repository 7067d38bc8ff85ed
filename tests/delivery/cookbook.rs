//! Every query of `docs/results.md` runs as it stands there.

use celeriac::prelude::*;
use celeriac_tests::{Bed, Running};
use sqlx::Executor;

#[task(name = "t.once")]
async fn once() -> TaskResult<()> {
    Ok(())
}

#[tokio::test]
async fn every_query_of_the_cookbook_runs() {
    let bed = Bed::new().await;
    let running = Running::start(&bed.program(tasks![once]).build().unwrap()).await;
    once().submit(&running.client).await.unwrap().get().await.unwrap();
    let guide = include_str!("../../docs/results.md");
    let queries: Vec<_> = guide.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(queries.len() >= 10, "the cookbook has {} queries", queries.len());
    let mut database = bed.database().await;
    for query in queries {
        let ran = database.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(query.to_owned()))).await;
        assert!(ran.is_ok(), "{query}\n{ran:?}");
    }
    running.stop().await;
    bed.clear().await;
}
