//! The grants of `docs/grants.md` are sufficient, and each is necessary.

use celeriac::prelude::*;
use celeriac::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection};
use celeriac_tests::{Bed, Program, Running};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::{Value as Json, json};

use crate::stage::{Seen, add, fail, see};

/// The users of the guide.
const USERS: [&str; 3] = ["app_worker", "app_sender", "app_reader"];

/// Succeeds at its second attempt, and sends another task in its transaction.
#[task(name = "t.send_late", transactional, max_retries = 1, retry_backoff = "10ms..20ms")]
async fn send_late(ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<String> {
    if ctx.attempt() == 1 {
        return Err(TaskError::new("not yet"));
    }
    Ok(ctx.client().submit_in(tx, add(1, 2)).await?.id().to_owned())
}

/// The database of a test, with users of its own, because users belong to the whole server.
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
        let users = USERS.map(|user| format!("CREATE USER {}", granted.user(user)));
        granted.run(&users.join(";")).await;
        granted
    }

    async fn run(&self, statements: &str) {
        self.bed.database().await.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await.unwrap();
    }

    /// Grants the rights of the guide.
    async fn grant(&self) {
        let guide = include_str!("../../docs/grants.md");
        let (_, block) = guide.split_once("```sql\n").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let statements = USERS.iter().fold(block.to_owned(), |text, user| text.replace(user, &self.user(user)));
        self.run(&statements).await;
    }

    fn user(&self, user: &str) -> String {
        format!("{user}_{}", self.suffix)
    }

    fn url(&self, user: &str) -> String {
        self.bed.database_url().replace("postgres@", &format!("{}@", self.user(user)))
    }

    fn program(&self, user: &str) -> celeriac::Builder {
        self.bed.program(tasks![add, fail, see, send_late]).state(Seen::default()).set("results.url", self.url(user))
    }

    async fn clear(self) {
        for user in USERS.map(|user| self.user(user)) {
            self.run(&format!("DROP OWNED BY {user}; DROP USER {user}")).await;
        }
    }
}

#[celeriac_tests::test(real)]
async fn workers_senders_and_readers_can_do_their_work_with_what_the_guide_grants(bed: Bed) {
    let granted = Granted::open(&bed).await;
    granted.grant().await;
    let running = Running::start(&granted.program("app_worker").build().unwrap()).await;
    let client = granted.program("app_sender").build().unwrap().client().await.unwrap();

    assert_eq!(add(1, 2).submit(&client).await.unwrap().get().await.unwrap(), 3);
    let failed = fail(json!(1)).submit(&client).await.unwrap();
    assert_eq!(failed.wait().await.unwrap().state, TaskState::Failure);
    // First in the sender's transaction, then in the task's.
    let mut sender = PgConnection::connect(&granted.url("app_sender")).await.unwrap();
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
    // Revoked before it starts.
    let revoked = see(json!(0), Json::Null).delay(std::time::Duration::from_secs(2)).submit(&client).await.unwrap();
    revoked.revoke().await.unwrap();
    assert_eq!(revoked.wait().await.unwrap().state, TaskState::Revoked);
    // Its header marks it as a suspect, so its start is recorded.
    suspected(&granted.bed, "suspect").await;
    assert_eq!(client.handle::<i64>("suspect").get().await.unwrap(), 7);
    failed.forget().await.unwrap();

    let mut reader = PgConnection::connect(&granted.url("app_reader")).await.unwrap();
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
async fn a_user_without_grants_is_named_and_the_program_ends(bed: Bed) {
    let granted = Granted::open(&bed).await;
    let variables = granted.bed.environment_with(&[("CELERIAC__RESULTS__URL", granted.url("app_worker"))]);
    let mut worker = Program::start(&["worker"], &variables);
    let code = worker.exit_code(std::time::Duration::from_secs(60)).await;
    let said = worker.rest().await;
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("permission denied for schema celeriac") && said.contains("app_worker"), "{said}");
    granted.clear().await;
}
