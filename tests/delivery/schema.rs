//! Programs and tables of different versions.

use std::time::Duration;

use celeriac::sqlx::{self, AssertSqlSafe};
use celeriac_tests::{Bed, Program};

use crate::command_line::run;

/// Makes the tables of the first version.
const FIRST: &str = concat!(
    "DROP SCHEMA celeriac CASCADE; CREATE SCHEMA celeriac;
     CREATE TABLE celeriac.migrations (version bigint PRIMARY KEY, name text NOT NULL, applied_at timestamptz DEFAULT now());
     INSERT INTO celeriac.migrations VALUES (1, 'tasks');",
    include_str!("../../crates/results/migrations/postgres/0001_tasks.sql")
);

async fn create_tables(bed: &Bed) {
    bed.program([]).build().unwrap().client().await.unwrap().close().await;
}

async fn execute(bed: &Bed, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut bed.database().await).await.unwrap();
}

#[celeriac_tests::test(real)]
async fn a_program_works_on_tables_to_which_a_newer_version_has_added(bed: Bed) {
    create_tables(&bed).await;
    let newer =
        "ALTER TABLE celeriac.tasks ADD COLUMN later text; INSERT INTO celeriac.migrations VALUES (99, 'later')";
    execute(&bed, newer).await;
    let mut worker = bed.process(&["worker", "-l", "info"]);
    worker.says("ready").await;
    let told = worker.says("tables are newer").await;
    assert!(told.contains("version=99") && told.contains("known="), "{told}");
    let (code, said) = run(&["call", "test.note", "-a", "[7]", "--wait", "30s"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) = run(&["setup", "--check"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn older_tables_are_migrated_by_their_owner_and_refused_to_others(bed: Bed) {
    create_tables(&bed).await;
    let user = format!("older_{}", bed.management().1);
    execute(&bed, &format!("{FIRST}; CREATE USER {user}; GRANT USAGE ON SCHEMA celeriac TO {user}")).await;
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA celeriac TO {user}");
    execute(&bed, &grant).await;
    let url = bed.database_url().replace("postgres@", &format!("{user}@"));
    let variables = bed.environment_with(&[("CELERIAC__RESULTS__URL", url)]);
    for verb in [["worker"].as_slice(), &["call", "test.note", "-a", "[7]"]] {
        let (code, said) = run(verb, &variables).await;
        assert_eq!(code, 78, "{said}");
        let expected = format!("cannot migrate postgres://{user}@");
        assert!(said.contains(&expected) && said.contains("to version 2 (replays): permission denied"), "{said}");
        assert!(said.contains("help: run `") && said.contains(" setup` as a user who may create"), "{said}");
    }
    let (code, said) = run(&["setup"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("created   tables: migration 2 (replays)"), "{said}");
    execute(&bed, &grant).await;
    let mut worker = Program::start(&["worker", "-l", "info"], &variables);
    worker.says("ready").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    execute(&bed, &format!("DROP OWNED BY {user}; DROP USER {user}")).await;
}

#[celeriac_tests::test(real)]
async fn a_table_of_migrations_that_is_not_ours_is_refused(bed: Bed) {
    create_tables(&bed).await;
    let cases = [
        ("DELETE FROM celeriac.migrations WHERE version = 7", "version 7 (runs) is missing, and version "),
        ("INSERT INTO celeriac.migrations VALUES (7, 'users')", "version 7 is `users`, expected `runs`"),
    ];
    for (statement, expected) in cases {
        execute(&bed, statement).await;
        for verb in [["worker"].as_slice(), &["setup"], &["call", "test.note", "-a", "[7]"]] {
            let (code, said) = run(verb, &bed.environment()).await;
            assert_eq!(code, 78, "{said}");
            assert!(said.contains("celeriac.migrations of postgres://") && said.contains(expected), "{said}");
            assert!(said.contains("help: restore the table celeriac.migrations"), "{said}");
        }
    }
}
