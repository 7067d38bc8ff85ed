//! Times that rows are kept, by task and state, and their deletion by an operator.

use std::time::Duration;

use celeriac_config::{Secret, duration};
use celeriac_protocol::TaskState;
use celeriac_results::{ResultsOptions, RetentionRule};
use celeriac_tests::Bed;
use serde_json::{Value as Json, json};
use sqlx::{Executor, PgConnection};

use crate::command_line::run;

/// Tasks that ended each hour, the last one 300 hours ago; and some that have not ended.
const ROWS: &str =
    "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, finished_at)
    SELECT name || '-' || state || '-' || hours, name, state, 'q', '', 'q', 'w1', 1, now() - hours * interval '1 hour'
    FROM generate_series(1, 300) AS hours, unnest('{orders.charge,orders.ship,mail.send,mailXsend}'::text[]) AS name,
         unnest('{SUCCESS,FAILURE}'::text[]) AS state;
    INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, started_at)
    VALUES ('waits', 'mail.send', 'RETRY', 'q', '', 'q', 'w1', 1, now() - interval '1 year')";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn rule(task: Option<&str>, states: &[TaskState], keep: Duration) -> RetentionRule {
    RetentionRule { task: task.map(str::to_owned), states: states.to_vec(), keep }
}

/// Returns the hours that rows of a task and a state go back.
async fn kept(database: &mut PgConnection) -> Vec<(String, String, i64)> {
    let counts = "SELECT name, state, count(*) FROM celeriac.tasks WHERE finished_at IS NOT NULL
        GROUP BY name, state ORDER BY name, state";
    sqlx::query_as(counts).fetch_all(database).await.unwrap()
}

#[celeriac_tests::test(real)]
async fn rows_are_kept_by_the_first_rule_that_matches(bed: Bed) {
    let retention_rules = vec![
        rule(Some("orders.charge"), &[TaskState::Failure], Duration::ZERO),
        rule(Some("orders.*"), &[TaskState::Failure], 10 * DAY),
        rule(Some("mail.*"), &[], DAY),
    ];
    let url = Secret::new(bed.database_url());
    let options = ResultsOptions { url, retention: 3 * DAY, retention_rules, ..ResultsOptions::default() };
    let store = celeriac_results::connect(&options).await.unwrap().unwrap();
    let mut database = bed.database().await;
    database.execute(sqlx::raw_sql(ROWS)).await.unwrap();
    let of = |name: &str, state: &str, hours| (name.to_owned(), state.to_owned(), hours);
    let mut expected = [
        of("mail.send", "FAILURE", 23),
        of("mail.send", "SUCCESS", 23),
        of("mailXsend", "FAILURE", 71),
        of("mailXsend", "SUCCESS", 71),
        of("orders.charge", "FAILURE", 300),
        of("orders.charge", "SUCCESS", 71),
        of("orders.ship", "FAILURE", 239),
        of("orders.ship", "SUCCESS", 71),
    ];
    let postgres = store.postgres().unwrap();
    let stay: i64 = expected.iter().map(|kept| kept.2).sum();
    assert_eq!(postgres.sweep_by_rules().await.unwrap(), u64::try_from(2_400 - stay).unwrap());
    assert_eq!(kept(&mut database).await, expected);

    // Time goes on by two hours. What is over by then is found behind the place of the last sweep.
    database.execute("UPDATE celeriac.tasks SET finished_at = finished_at - interval '2 hours'").await.unwrap();
    assert_eq!(postgres.sweep_by_rules().await.unwrap(), 14);
    for (_, _, hours) in expected.iter_mut().filter(|kept| kept.2 < 300) {
        *hours -= 2;
    }
    assert_eq!(kept(&mut database).await, expected);
    store.close().await;
}

#[celeriac_tests::test(real)]
async fn an_operator_counts_deletes_and_leaves_an_audit_row(bed: Bed) {
    bed.program([]).build().unwrap().client().await.unwrap().close().await;
    let mut database = bed.database().await;
    database.execute(sqlx::raw_sql(ROWS)).await.unwrap();
    let variables = bed.environment();
    let flags = ["db", "prune", "--older-than", "100h", "-t", "mail.*", "--state", "SUCCESS"];
    let prune = async |more: &[&str]| run(&[&flags, more].concat(), &variables).await;
    let (code, said) = prune(&["--dry-run", "--json"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(serde_json::from_str::<Json>(&said).unwrap(), json!({"matching": 201, "deleted": 0}), "{said}");
    let (_, said) = prune(&[]).await;
    assert!(said.contains("confirmation required"), "{said}");
    assert_eq!(kept(&mut database).await.iter().map(|kept| kept.2).sum::<i64>(), 2_400);
    let (code, said) = prune(&["--yes", "--limit", "101"]).await;
    assert!(code == 0 && said.contains("deleted 101 tasks"), "{said}");
    let (code, said) = prune(&["--yes"]).await;
    assert!(code == 0 && said.contains("deleted 100 tasks"), "{said}");
    assert_eq!(kept(&mut database).await[1], ("mail.send".to_owned(), "SUCCESS".to_owned(), 99));

    let rows = "SELECT target, count, error FROM celeriac.audit WHERE action = 'db prune' AND ended_at IS NOT NULL ORDER BY number";
    let rows: Vec<(Json, i64, Option<String>)> = sqlx::query_as(rows).fetch_all(&mut database).await.unwrap();
    let older_than = duration::format(Duration::from_secs(100 * 60 * 60));
    let target =
        |limit: Json| json!({"older_than": older_than, "states": ["SUCCESS"], "task": "mail.*", "limit": limit});
    assert_eq!(rows, [(target(json!(101)), 101, None), (target(Json::Null), 100, None)]);

    let (code, said) = run(&["db", "size", "--json"], &variables).await;
    assert_eq!(code, 0, "{said}");
    let sizes: Json = serde_json::from_str(&said).unwrap();
    let tasks = sizes.as_array().unwrap().iter().find(|row| row["relation"] == "tasks" && row["index_name"].is_null());
    assert!(tasks.unwrap()["bytes"].as_u64().unwrap() > 100_000, "{said}");
    for store in ["sqlite://a.db?mode=memory", "none"] {
        let (code, said) = run(&["db", "size", "--results", store], &variables).await;
        assert!(code == 78 && said.contains("needs Postgres"), "{code} {said}");
    }
}
