//! The checklist for production: users with the patterns of the page, and its statements.

use std::time::Duration;

use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Program};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

/// Longest time of a command.
const COMMAND: Duration = Duration::from_secs(60);

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/production.md")).unwrap()
}

/// Returns the users of the page, each with its patterns: configure, write, read.
fn users(page: &str) -> Vec<(&str, [&str; 3])> {
    let commands = page.lines().filter_map(|line| line.strip_prefix("rabbitmqctl set_permissions --vhost jobs "));
    commands.map(user).collect()
}

fn user(command: &str) -> (&str, [&str; 3]) {
    let (name, patterns) = command.split_once(' ').unwrap();
    let patterns: Vec<_> = patterns.split('\'').skip(1).step_by(2).collect();
    (name, patterns.try_into().unwrap())
}

/// The users of the page on the virtual host of a test.
struct Users<'a> {
    bed: &'a Bed,
    variables: Vec<(&'static str, String)>,
}

impl Users<'_> {
    /// Starts the program as a user of the page.
    fn start(&self, user: &str, arguments: &[&str]) -> Program {
        let name = self.name(user);
        let mut variables = self.bed.environment_with(&self.variables);
        variables[0].1 = self.bed.amqp_url().replace("guest:guest@", &format!("{name}:{name}@"));
        Program::start(arguments, &variables)
    }

    fn name(&self, user: &str) -> String {
        format!("{user}-{}", self.bed.management().1)
    }

    /// Runs a command as a user. Returns its exit code and its output.
    async fn run(&self, user: &str, arguments: &[&str]) -> (i32, String) {
        let mut program = self.start(user, arguments);
        let code = program.exit_code(COMMAND).await;
        (code, program.rest().await)
    }
}

#[celeriac_tests::test(real)]
async fn each_program_runs_with_the_permissions_of_the_checklist_and_with_no_others(bed: Bed) {
    let page = page();
    let patterns = users(&page);
    assert_eq!(
        patterns.iter().map(|(user, _)| *user).collect::<Vec<_>>(),
        ["setup", "worker", "sender", "relay", "operator"]
    );
    let (management, vhost) = bed.management();
    let variables =
        [("CELERIAC__DEFAULT_QUEUE", "billing".to_owned()), ("CELERIAC__WORKER__RUN_RELAY", "false".to_owned())];
    let users = Users { bed: &bed, variables: variables.into() };
    for (user, patterns) in &patterns {
        management.create_user(&users.name(user), vhost, *patterns).await;
    }
    let folder = TempDir::new().unwrap();
    let needed = folder.path().join("needed");

    let (code, said) = users.run("setup", &["setup"]).await;
    assert_eq!(code, 0, "{said}");
    let mut worker = users.start("worker", &["worker"]);
    worker.says("worker ready").await;
    let mut relay = users.start("relay", &["relay"]);
    relay.says("relay started").await;

    let fails = format!("[{:?}]", needed.display().to_string());
    let calls: [&[&str]; 3] = [
        &["call", "test.note", "-a", "[1]"],
        &["call", "test.note", "-a", "[2]", "--countdown", "1s"],
        // Is retried by the delays, and dead-lettered.
        &["call", "test.need", "-a", &fails],
    ];
    for call in calls {
        let (code, said) = users.run("sender", call).await;
        assert_eq!(code, 0, "{said}");
    }
    let mut database = bed.database().await;
    sqlx::query("SELECT celeriac.enqueue('test.note', '[3]')").execute(&mut database).await.unwrap();
    let done = async || {
        let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS' OR state = 'FAILURE'";
        sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut bed.database().await).await.unwrap()
    };
    eventually("all tasks have ended", &done, |rows| *rows == 4).await;

    let dead = async || users.run("operator", &["dead", "list"]).await;
    eventually("there is a dead letter", dead, |(code, said)| *code == 0 && said.contains("exhausted")).await;

    // Nobody may do the work of another. The dead letter is there: an empty queue is not read.
    let refused: [(&str, &[&str]); 5] = [
        ("sender", &["dead", "list"]),
        ("relay", &["dead", "list"]),
        ("worker", &["dead", "list"]),
        ("worker", &["dead", "purge", "--yes"]),
        ("operator", &["call", "test.note", "-a", "[4]", "--countdown", "1s"]),
    ];
    for (user, command) in refused {
        let (code, said) = users.run(user, command).await;
        assert!(code == 77 && said.contains("refused for user"), "{user} {command:?}: {code} {said}");
    }

    std::fs::write(&needed, "").unwrap();
    let (code, said) = users.run("operator", &["dead", "replay", "--yes"]).await;
    assert!(code == 0 && said.contains("1 replayed"), "{said}");
    let failed = async || {
        let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'FAILURE'";
        sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut bed.database().await).await.unwrap()
    };
    eventually("the replay succeeds", failed, |rows| *rows == 0).await;

    for program in [&mut worker, &mut relay] {
        program.signal("TERM");
        assert_eq!(program.exit_code(COMMAND).await, 0, "{}", program.output());
    }
    for (user, _) in &patterns {
        management.delete_user(&users.name(user)).await;
    }
}

#[celeriac_tests::test(real)]
async fn the_statements_of_the_checklist_run(bed: Bed) {
    bed.worker([]).await.stop().await;
    let page = page();
    let mut database = bed.database().await;
    let statements: Vec<_> =
        page.split("\n```sql\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect();
    assert_eq!(statements.len(), 3);
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
    }
}
