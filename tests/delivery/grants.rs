//! The grants of `docs/grants.md` are sufficient, and each is necessary.

use celeriac::Group;
use celeriac::prelude::*;
use celeriac::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection};
use celeriac_tests::{Bed, Program, Running};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::{Value as Json, json};

use crate::command_line::run;
use crate::stage::{Seen, add, fail, see};

/// The roles of the guide. Each has a user in a test, whose name ends with `_user`.
const ROLES: [&str; 5] =
    ["celeriac_worker", "celeriac_sender", "celeriac_relay", "celeriac_operator", "celeriac_reader"];

/// Succeeds at its second attempt, and sends another task in its transaction.
#[task(name = "t.send_late", transactional, max_retries = 1, retry_backoff = "10ms..20ms")]
async fn send_late(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<String> {
    if ctx.attempt() == 1 {
        return Err(TaskError::new("not yet"));
    }
    Ok(ctx.client().submit_in(tx, add(1, 2)).await?.id().to_owned())
}

/// Statements that no user may run.
const AUDIT: [&str; 4] = [
    "INSERT INTO celeriac.audit (action, target, os_user, host, program) VALUES ('a', '{}', 'b', 'c', 'd')",
    "UPDATE celeriac.audit SET error = 'never happened'",
    "DELETE FROM celeriac.audit",
    "TRUNCATE celeriac.audit",
];
const TASKS: [&str; 4] = [
    "UPDATE celeriac.tasks SET state = 'FAILURE'",
    "DELETE FROM celeriac.tasks",
    "DELETE FROM celeriac.attempts",
    "DELETE FROM celeriac.attempt_logs",
];
const BEGIN: &str = "SELECT celeriac.audit_begin('b', 'c', 'd', 'a', '{}')";
const SWEEP: &str = "SELECT celeriac.audit_sweep('0s', 9)";
const SEND_RETRIES: &str = "SELECT celeriac.send_overdue_retries(NULL, '1h', 9)";
const COUNT_RETRIES: &str = "SELECT celeriac.count_overdue_retries('1h', 9)";
/// Functions that only operators may execute, one of them only by a further grant.
const ACTIONS: [&str; 6] = [
    "SELECT celeriac.revoke('a')",
    "SELECT celeriac.revoke(ARRAY['a'])",
    "SELECT celeriac.retry('a')",
    "SELECT celeriac.retry(ARRAY['a'])",
    "SELECT celeriac.forget('a')",
    "SELECT celeriac.forget(ARRAY['a'])",
];
const ENQUEUE: &str = "SELECT celeriac.enqueue('t.add', '[1, 2]')";
const ADD_SENT: &str = "SELECT celeriac.add_sent('{a}', '{t}', '{q}', '{x}', '{k}', ARRAY[now()], '{NULL}', '{NULL}',
    '{NULL}', '{NULL}', '{NULL}')";
const JOINS: [&str; 5] = [
    "SELECT celeriac.add_join('a', 1, '{}')",
    "SELECT celeriac.open_join('b', 1, '{}', 60, 600, NULL, NULL, false)",
    "SELECT celeriac.touch_join('b', 1, NULL)",
    "SELECT celeriac.give_up_join('a', 'no')",
    "SELECT celeriac.save_group('a', '{b}', NULL)",
];
/// Functions that only the functions above call.
const INTERNAL: [&str; 5] = [
    "SELECT celeriac.add_call('t', 'a', '{}', NULL)",
    "SELECT celeriac.retry_row('a')",
    "SELECT celeriac.claim_key('t', 'k', 'a', 'f')",
    "SELECT celeriac.audit_sql('purge', '{}', 1)",
    "SELECT celeriac.call_options('t', '{}')",
];
const TABLES: [&str; 3] = [
    "CREATE TABLE celeriac.mine (id text)",
    "DELETE FROM celeriac.migrations",
    "DROP FUNCTION celeriac.audit_end(bigint, bigint, text)",
];

/// The database of a test, with roles of its own, because roles belong to the whole server.
struct Granted {
    bed: Bed,
    suffix: String,
}

impl Granted {
    async fn open(bed: &Bed) -> Self {
        // The owner creates the tables.
        let owner = bed.program([]).build().unwrap().client().await.unwrap();
        owner.close().await;
        let suffix = bed.management().1.to_owned();
        let granted = Self { bed: bed.clone(), suffix };
        granted.run_block(0).await;
        let users = ROLES.map(|role| format!("CREATE USER {} IN ROLE {}", granted.user(role), granted.role(role)));
        granted.run(&users.join(";")).await;
        granted
    }

    async fn run(&self, statements: &str) {
        self.bed.database().await.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await.unwrap();
    }

    /// Grants the rights of the guide.
    async fn grant(&self) {
        self.run_block(1).await;
    }

    /// Runs one block of the guide.
    async fn run_block(&self, number: usize) {
        let guide = include_str!("../../docs/grants.md");
        let block = guide.split("```sql\n").nth(number + 1).unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let statements = ROLES.iter().fold(block.to_owned(), |text, role| text.replace(role, &self.role(role)));
        self.run(&statements).await;
    }

    fn variables(&self, user: &str) -> Vec<(&'static str, String)> {
        self.bed.environment_with(&[("CELERIAC__RESULTS__URL", self.url(user))])
    }

    /// Returns the error of a statement of this user, and undoes the statement.
    async fn refusal(&self, user: &str, statement: &str) -> Option<String> {
        let mut connection = PgConnection::connect(&self.url(user)).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let tried = transaction.execute(AssertSqlSafe(statement.to_owned())).await;
        tried.err().map(|error| error.to_string())
    }

    fn role(&self, role: &str) -> String {
        format!("{role}_{}", self.suffix)
    }

    fn user(&self, role: &str) -> String {
        format!("{}_user", self.role(role))
    }

    fn url(&self, user: &str) -> String {
        self.bed.database_url().replace("postgres@", &format!("{}@", self.user(user)))
    }

    fn program(&self, user: &str) -> celeriac::Builder {
        self.bed.program(tasks![add, fail, see, send_late]).state(Seen::default()).set("results.url", self.url(user))
    }

    async fn clear(self) {
        for role in ROLES {
            let (user, role) = (self.user(role), self.role(role));
            self.run(&format!("DROP USER {user}; DROP OWNED BY {role}; DROP ROLE {role}")).await;
        }
    }
}

#[celeriac_tests::test(real)]
async fn every_user_can_do_its_work_with_what_the_guide_grants(bed: Bed) {
    let granted = Granted::open(&bed).await;
    granted.grant().await;
    let worker = granted.program("celeriac_worker").set("worker.run_relay", "false");
    let running = Running::start(&worker.build().unwrap()).await;
    let mut relay = Program::start(&["relay"], &granted.variables("celeriac_relay"));
    let client = granted.program("celeriac_sender").build().unwrap().client().await.unwrap();

    assert_eq!(add(1, 2).submit(&client).await.unwrap().get().await.unwrap(), 3);
    let failed = fail(json!(1)).submit(&client).await.unwrap();
    assert_eq!(failed.wait().await.unwrap().state, TaskState::Failure);
    // First in the sender's transaction, then in the task's.
    let mut sender = PgConnection::connect(&granted.url("celeriac_sender")).await.unwrap();
    let mut transaction = sender.begin().await.unwrap();
    let sent = client.submit_in(&mut transaction, send_late()).await.unwrap();
    transaction.commit().await.unwrap();
    let following = client.handle::<i64>(sent.get().await.unwrap());
    assert_eq!(following.get().await.unwrap(), 3);
    // Once under a key, and then under the same key again.
    let keyed = async || see(json!("once"), Json::Null).idempotency_key("one").submit(&client).await.unwrap();
    let (first, second) = (keyed().await, keyed().await);
    assert_eq!(first.id(), second.id());
    assert_eq!(first.get().await.unwrap(), json!("once"));
    let header: Group = (0..3).map(|number| add(number, 1).signature().unwrap()).collect();
    let chord = header.then(see(json!(0), Json::Null).signature().unwrap().immutable()).submit(&client).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), json!(0));
    // Revoked before it starts.
    let revoked = see(json!(0), Json::Null).delay(std::time::Duration::from_secs(2)).submit(&client).await.unwrap();
    revoked.revoke().await.unwrap();
    assert_eq!(revoked.wait().await.unwrap().state, TaskState::Revoked);
    // Its header marks it as a suspect, so its start is recorded.
    suspected(&granted.bed, "suspect").await;
    assert_eq!(client.handle::<i64>("suspect").get().await.unwrap(), 7);
    assert!(failed.forget().await.is_err());
    granted.run_block(2).await;
    assert!(failed.forget().await.unwrap());
    relay.signal("TERM");
    assert_eq!(relay.exit_code(std::time::Duration::from_secs(20)).await, 0);

    let mut reader = PgConnection::connect(&granted.url("celeriac_reader")).await.unwrap();
    let relations =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'celeriac'::regnamespace AND relkind IN ('r', 'v')";
    let relations: Vec<String> = sqlx::query_scalar(relations).fetch_all(&mut reader).await.unwrap();
    assert!(relations.len() > 6, "{relations:?}");
    for relation in relations {
        let rows = AssertSqlSafe(format!("SELECT count(*) FROM celeriac.{relation}"));
        sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut reader).await.unwrap();
    }
    let change = reader.execute("DELETE FROM celeriac.tasks").await.unwrap_err();
    assert!(change.to_string().contains("permission denied"), "{change}");
    reader.execute("SELECT celeriac.tree('a')").await.unwrap();

    client.close().await;
    running.stop().await;
    granted.clear().await;
}

/// Publishes a task as redelivered.
async fn suspected(bed: &Bed, id: &str) {
    let mut headers = FieldTable::default();
    for (name, value) in [("task", "t.add"), ("id", id), ("celeriac-suspected", "1")] {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let properties = BasicProperties::default().with_headers(headers).with_content_type("application/json".into());
    bed.peer().await.put("celeriac", properties, b"[[3, 4], {}, {}]").await;
}

#[celeriac_tests::test(real)]
async fn an_operator_can_run_the_command_line_and_a_sender_cannot_purge(bed: Bed) {
    let granted = Granted::open(&bed).await;
    granted.grant().await;
    for (arguments, expected) in [
        (&["revoke", "order-17"][..], 0),
        (&["setup"], 0),
        (&["relay", "--status"], 0),
        (&["result", "order-17"], 65),
        (&["retries", "overdue"], 0),
        (&["retries", "send", "--all"], 0),
        (&["dead", "purge", "--yes"], 0),
        (&["dead", "replay", "--yes"], 0),
        (&["topology", "apply", "--yes"], 0),
    ] {
        let (code, said) = run(arguments, &granted.variables("celeriac_operator")).await;
        assert_eq!(code, expected, "{arguments:?}: {said}");
    }
    let author = "SELECT DISTINCT database_user FROM celeriac.audit";
    let authors: Vec<String> = sqlx::query_scalar(author).fetch_all(&mut bed.database().await).await.unwrap();
    assert_eq!(authors, [granted.user("celeriac_operator")]);
    let (code, said) = run(&["dead", "purge", "--yes"], &granted.variables("celeriac_sender")).await;
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("permission denied for function audit_begin"), "{said}");
    granted.clear().await;
}

#[celeriac_tests::test(real)]
async fn no_user_can_do_more_than_its_work(bed: Bed) {
    let granted = Granted::open(&bed).await;
    granted.grant().await;
    granted
        .run(
            "INSERT INTO celeriac.audit (action, target, os_user, host, program)
             VALUES ('revoke', '{}', 'ada', 'here', 'celeriac 0')",
        )
        .await;
    for (user, own) in [
        ("celeriac_worker", &["TRUNCATE celeriac.tasks", SEND_RETRIES][..]),
        (
            "celeriac_sender",
            &[
                BEGIN,
                SWEEP,
                SEND_RETRIES,
                COUNT_RETRIES,
                "SELECT * FROM celeriac.audit",
                "SELECT * FROM celeriac.outbox",
                "SELECT * FROM celeriac.attempt_logs",
                "DELETE FROM celeriac.outbox",
                "DELETE FROM celeriac.revocations",
                "DELETE FROM celeriac.suspects",
                "SELECT * FROM celeriac.arrivals",
                "UPDATE celeriac.joins SET fired_at = NULL",
            ],
        ),
        (
            "celeriac_relay",
            &[
                BEGIN,
                SWEEP,
                SEND_RETRIES,
                "SELECT * FROM celeriac.unstarted_retries",
                "SELECT * FROM celeriac.tasks",
                "INSERT INTO celeriac.revocations (id, terminate, until) VALUES ('a', true, now())",
                "INSERT INTO celeriac.outbox (id, task, exchange, routing_key, headers, properties, body)
                 VALUES ('a', 'b', '', 'q', '{}', '{}', '')",
            ],
        ),
        ("celeriac_operator", &[SWEEP, "DELETE FROM celeriac.revocations", "DELETE FROM celeriac.outbox"]),
        (
            "celeriac_reader",
            &[BEGIN, SWEEP, SEND_RETRIES, "DELETE FROM celeriac.revocations", "DELETE FROM celeriac.outbox"],
        ),
    ] {
        let common = if user == "celeriac_worker" { &[BEGIN][..] } else { &TASKS };
        let actions = if user == "celeriac_operator" { &ACTIONS[4..] } else { &ACTIONS };
        let enqueues = ["celeriac_sender", "celeriac_worker"].contains(&user);
        let enqueue = if enqueues { &[][..] } else { &[ENQUEUE] };
        let writes_sent = enqueues || user == "celeriac_relay";
        let add_sent = if writes_sent { &[][..] } else { &[ADD_SENT] };
        let joins = if enqueues { &[][..] } else { &JOINS };
        for statement in [&AUDIT[..], &TABLES, &INTERNAL, common, actions, enqueue, add_sent, joins, own].concat() {
            let refusal = granted.refusal(user, statement).await.unwrap_or_default();
            let is_denied = refusal.contains("permission denied") || refusal.contains("must be owner");
            assert!(is_denied, "{user}: {statement}: {refusal}");
        }
    }
    assert_eq!(granted.refusal("celeriac_worker", SWEEP).await, None);
    assert_eq!(granted.refusal("celeriac_operator", BEGIN).await, None);
    assert_eq!(granted.refusal("celeriac_sender", ENQUEUE).await, None);
    for user in ["celeriac_worker", "celeriac_sender", "celeriac_relay"] {
        assert_eq!(granted.refusal(user, ADD_SENT).await, None);
    }
    assert_eq!(granted.refusal("celeriac_worker", ENQUEUE).await, None);
    for user in ["celeriac_worker", "celeriac_sender"] {
        for statement in JOINS {
            assert_eq!(granted.refusal(user, statement).await, None);
        }
    }
    for action in &ACTIONS[..2] {
        assert_eq!(granted.refusal("celeriac_operator", action).await, None);
    }
    let retried = granted.refusal("celeriac_operator", ACTIONS[2]).await.unwrap_or_default();
    assert!(retried.contains("no task `a` is recorded"), "{retried}");
    // A search path of the caller changes nothing.
    let shadowed = "CREATE TEMP TABLE outbox (id text); SET LOCAL search_path = pg_temp, celeriac; ";
    assert_eq!(granted.refusal("celeriac_sender", &format!("{shadowed}{ENQUEUE}")).await, None);
    assert_eq!(granted.refusal("celeriac_operator", SEND_RETRIES).await, None);
    for user in ["celeriac_worker", "celeriac_relay"] {
        assert_eq!(granted.refusal(user, COUNT_RETRIES).await, None);
    }
    // The row of another user cannot be completed.
    let mut operator = PgConnection::connect(&granted.url("celeriac_operator")).await.unwrap();
    let completed: bool =
        sqlx::query_scalar("SELECT celeriac.audit_end(1, 0, NULL)").fetch_one(&mut operator).await.unwrap();
    assert!(!completed);
    granted.clear().await;
}

/// Default privileges of an earlier version's guide grant every new table to workers.
#[celeriac_tests::test(real)]
async fn the_audit_log_is_closed_to_users_with_default_privileges(bed: Bed) {
    let granted = Granted { suffix: bed.management().1.to_owned(), bed: bed.clone() };
    let worker = granted.user("celeriac_worker");
    granted
        .run(&format!(
            "CREATE USER {worker}; CREATE SCHEMA celeriac; GRANT USAGE ON SCHEMA celeriac TO {worker};
             ALTER DEFAULT PRIVILEGES IN SCHEMA celeriac GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {worker}"
        ))
        .await;
    bed.program([]).build().unwrap().client().await.unwrap().close().await;
    assert_eq!(granted.refusal("celeriac_worker", "DELETE FROM celeriac.tasks").await, None);
    for statement in ["DELETE FROM celeriac.audit", "SELECT * FROM celeriac.audit"] {
        let refusal = granted.refusal("celeriac_worker", statement).await.unwrap_or_default();
        assert!(refusal.contains("permission denied"), "{statement}: {refusal}");
    }
    granted.run(&format!("DROP OWNED BY {worker}; DROP USER {worker}")).await;
}

#[celeriac_tests::test(real)]
async fn a_user_without_grants_is_named_and_the_program_ends(bed: Bed) {
    let granted = Granted::open(&bed).await;
    let variables = granted.variables("celeriac_worker");
    let mut worker = Program::start(&["worker"], &variables);
    let code = worker.exit_code(std::time::Duration::from_secs(60)).await;
    let said = worker.rest().await;
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("permission denied for schema celeriac") && said.contains("celeriac_worker"), "{said}");
    granted.clear().await;
}
