//! The queries of `docs/cookbook.md`: they stand on the page, their answers are right, and they use
//! indexes.

use std::fmt::Write;

use celeriac_results::CookbookQuery;
use celeriac_results::cookbook::QUERIES;
use celeriac_tests::Bed;
use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::command_line::run;

const PAGE: &str = include_str!("../../docs/cookbook.md");

/// A clock for `now()`, which views and queries use in place of the server's.
const CLOCK: &str = "CREATE SCHEMA fixed;
    CREATE FUNCTION fixed.now() RETURNS timestamptz LANGUAGE sql IMMUTABLE
    AS $$ SELECT timestamptz '2026-11-30 12:00:00+00' $$";

/// Opens a database with this clock and these rows.
async fn recorded(bed: &Bed, rows: &'static str) -> PgConnection {
    let mut database = bed.database().await;
    database.execute(CLOCK).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut database).await.unwrap();
    let set = format!(
        "ALTER DATABASE {name} SET search_path = fixed, pg_catalog, public; ALTER DATABASE {name} SET timezone = 'UTC'"
    );
    database.execute(AssertSqlSafe(set)).await.unwrap();
    bed.program([]).build().unwrap().client().await.unwrap().close().await;
    let mut database = bed.database().await;
    database.execute(sqlx::raw_sql(rows)).await.unwrap();
    database
}

/// Returns the rows of a query of the page, one a line.
async fn answer(database: &mut PgConnection, query: &CookbookQuery) -> String {
    let sql = query.sql.trim_end().trim_end_matches(';');
    let rows = AssertSqlSafe(format!("SELECT row_to_json(answer)::text FROM ({sql}) AS answer"));
    let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(database).await.unwrap();
    rows.join("\n")
}

#[test]
fn the_page_has_every_query_in_order() {
    let mut rest = PAGE;
    for CookbookQuery { name, subject, sql } in QUERIES {
        let heading = format!("### {name}\n\n{subject}.\n");
        let (_, found) = rest.split_once(&heading).unwrap_or_else(|| panic!("not on the page, or not here: {heading}"));
        let block = format!("\n```sql\n{sql}```\n");
        let (before, after) = found.split_once(&block).unwrap_or_else(|| panic!("{name} has another text on the page"));
        assert!(!before.contains("```"), "{name}");
        rest = after;
    }
    assert_eq!(PAGE.matches("\n### ").count(), QUERIES.len());
}

#[celeriac_tests::test(real)]
async fn every_query_of_the_cookbook_has_the_right_answer(bed: Bed) {
    let mut database = recorded(&bed, include_str!("cookbook/recorded.sql")).await;
    let mut answers = String::new();
    // The sizes of the tables differ between servers.
    for query in QUERIES.iter().filter(|query| query.name != "size") {
        let answer = answer(&mut database, query).await;
        assert!(!answer.is_empty(), "{} has no rows", query.name);
        let _ = writeln!(answers, "{}: {}\n{answer}\n", query.name, query.subject);
    }
    insta::assert_snapshot!(answers);
    let sizes = answer(&mut database, CookbookQuery::named("size").unwrap()).await;
    assert!(sizes.contains(r#""relation":"tasks""#) && sizes.lines().count() >= 9, "{sizes}");
}

#[celeriac_tests::test(real)]
async fn every_other_query_of_the_pages_runs(bed: Bed) {
    let mut database = recorded(&bed, include_str!("cookbook/recorded.sql")).await;
    for page in [include_str!("../../docs/results.md"), PAGE] {
        let queries: Vec<_> = page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(queries.len() >= 2);
        for query in queries {
            let ran = database.execute(sqlx::raw_sql(AssertSqlSafe(query.to_owned()))).await;
            assert!(ran.is_ok(), "{query}\n{ran:?}");
        }
    }
}

/// Queries that read all rows of a small table, or of a week.
const WITHOUT_INDEX: [&str; 6] = ["hours", "operators", "outbox", "revoked", "suspects", "size"];

#[celeriac_tests::test(real)]
async fn the_queries_use_indexes_on_a_large_table(bed: Bed) {
    let mut database = recorded(&bed, include_str!("cookbook/many_tasks.sql")).await;
    for CookbookQuery { name, sql, .. } in QUERIES {
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {sql}"))).fetch_all(&mut database).await.unwrap();
        let reads_all = plan.iter().any(|line| {
            ["Seq Scan on tasks", "Seq Scan on attempts", "Seq Scan on outbox"].iter().any(|scan| line.contains(scan))
        });
        let is_known = WITHOUT_INDEX.contains(name);
        assert!(is_known || !reads_all, "{name} reads a whole table:\n{}", plan.join("\n"));
    }
}

#[celeriac_tests::test(real)]
async fn the_command_line_runs_the_queries(bed: Bed) {
    recorded(&bed, include_str!("cookbook/recorded.sql")).await;
    let variables = bed.environment();
    let (code, said) = run(&["query"], &variables).await;
    assert_eq!(code, 0, "{said}");
    assert!(QUERIES.iter().all(|query| said.contains(query.name) && said.contains(query.subject)), "{said}");
    let (code, said) = run(&["query", "failures", "--since", "11m"], &variables).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("orders.charge") && said.contains("Declined") && !said.contains("SMTPError"), "{said}");
    let line = ["query", "find", "-t", "orders.charge", "-k", r#"{"order": 3}"#, "--json"];
    let (code, said) = run(&line, &variables).await;
    assert_eq!(code, 0, "{said}");
    let found: Json = serde_json::from_str(&said).unwrap();
    assert_eq!((found[0]["id"].as_str(), found[1].as_object()), (Some("charge-3"), None), "{said}");
    let id = "0198b2a4-5c3e-7000-8000-000000000003";
    for (line, expected, part) in [
        (&["query", "task", "--id", id][..], 0, "error_kind       SMTPError\n"),
        (&["query", "task", "--id", "nobody"], 0, "no rows"),
        (&["query", "new-errors", "--at", "2026-11-30T11:48:30Z"], 0, "pictures.resize"),
        (&["query", "failure"], 65, "did you mean `failures`"),
        (&["query", "task"], 65, "--id: query `task` needs this flag"),
        (&["query", "size", "--since", "1h"], 65, "--since: query `size` does not have this flag"),
        (&["query", "failures", "--results", "sqlite://x.db?mode=memory"], 78, "this command needs Postgres"),
    ] {
        let (code, said) = run(line, &variables).await;
        assert_eq!(code, expected, "{line:?}: {said}");
        assert!(said.contains(part), "{line:?}: {said}");
    }
}
