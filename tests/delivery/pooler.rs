//! PgBouncer between Celeriac and Postgres: session mode works, transaction mode is refused.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::postgres::{PgListener, PgPoolOptions};
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_servers::{Durability, PoolMode, PoolerNode, PostgresNode};
use celeriac_tests::{Bed, Program, Running};
use serde_json::{Value as Json, json};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::command_line::run;
use crate::stage::{Seen, add, see};

/// Adds in a transaction.
#[task(name = "t.pooled", transactional)]
async fn pooled(_ctx: TaskContext, tx: &mut PgConnection) -> TaskResult<i64> {
    Ok(sqlx::query_scalar("SELECT 1::bigint + 2").fetch_one(tx).await?)
}

/// A database, and a PgBouncer before it.
struct Pooled {
    _postgres: PostgresNode,
    _pooler: PoolerNode,
    direct: String,
    url: String,
}

impl Pooled {
    async fn start(mode: PoolMode) -> Self {
        Self::start_with(mode, 20).await
    }

    /// Starts a pooler with at most this many sessions of the server.
    async fn start_with(mode: PoolMode, sessions: u32) -> Self {
        let started = spawn_blocking(move || {
            let postgres = PostgresNode::start(Durability::Fast)?;
            let pooler = PoolerNode::start_with(postgres.port(), mode, sessions)?;
            anyhow::Ok((postgres, pooler))
        });
        let (postgres, pooler) = started.await.unwrap().unwrap();
        let url = postgres.url().replace(&format!(":{}/", postgres.port()), &format!(":{}/", pooler.port()));
        Self { direct: postgres.url(), _postgres: postgres, _pooler: pooler, url }
    }

    fn variables(&self, bed: &Bed) -> Vec<(&'static str, String)> {
        bed.environment_with(&[("CELERIAC__RESULTS__URL", self.url.clone())])
    }
}

#[celeriac_tests::test(real)]
async fn everything_works_behind_a_pooler_in_session_mode(bed: Bed) {
    let servers = Pooled::start(PoolMode::Session).await;
    let program = || {
        let tasks = tasks![add, see, pooled];
        bed.program(tasks).state(Seen::default()).set("results.url", servers.url.clone())
    };
    let worker = program().set("worker.run_relay", "false");
    let running = Running::start(&worker.build().unwrap()).await;
    let mut relay = Program::start(&["relay"], &servers.variables(&bed));
    let client = program().build().unwrap().client().await.unwrap();
    assert_eq!(add(1, 2).submit(&client).await.unwrap().get().await.unwrap(), 3);
    assert_eq!(pooled().submit(&client).await.unwrap().get().await.unwrap(), 3);
    let mut sender = PgConnection::connect(&servers.url).await.unwrap();
    let mut transaction = sender.begin().await.unwrap();
    let sent = client.submit_in(&mut transaction, add(3, 4)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(sent.get().await.unwrap(), 7);
    let revoked = see(json!(0), Json::Null).delay(Duration::from_secs(2)).submit(&client).await.unwrap();
    revoked.revoke().await.unwrap();
    assert_eq!(revoked.wait().await.unwrap().state, TaskState::Revoked);
    relay.signal("TERM");
    assert_eq!(relay.exit_code(Duration::from_secs(20)).await, 0);
    client.close().await;
    running.stop().await;
}

#[celeriac_tests::test(real)]
async fn a_relay_behind_a_pooler_in_transaction_mode_is_refused(bed: Bed) {
    let servers = Pooled::start(PoolMode::Transaction).await;
    let (code, said) = run(&["relay"], &servers.variables(&bed)).await;
    assert_eq!(code, 78, "{said}");
    let expected = "connecting failed: postgres://postgres@127.0.0.1:";
    assert!(said.contains(expected) && said.contains("is a connection pooler in transaction mode"), "{said}");
    assert!(said.contains("help: set results.url to the server itself"), "{said}");
    // It left no lock and no setting in a session of the pooler.
    let mut direct = PgConnection::connect(&servers.direct).await.unwrap();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(sqlx::query_scalar::<_, i64>(locks).fetch_one(&mut direct).await.unwrap(), 0);
    let mut pooled = PgConnection::connect(&servers.url).await.unwrap();
    for (setting, expected) in [("enable_seqscan", "on"), ("statement_timeout", "0")] {
        let show = sqlx::AssertSqlSafe(format!("SHOW {setting}"));
        let row = sqlx::raw_sql(show).fetch_one(&mut pooled).await.unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&row, 0), expected, "{setting}");
    }
}

#[celeriac_tests::test(real)]
async fn workers_clients_and_verbs_behind_a_pooler_in_transaction_mode_are_refused_at_their_start(bed: Bed) {
    // With one session, all clients of the pooler share it.
    for sessions in [20, 1] {
        let servers = Pooled::start_with(PoolMode::Transaction, sessions).await;
        for verb in [&["worker"][..], &["result", "nobody"]] {
            let (code, said) = run(verb, &servers.variables(&bed)).await;
            assert_eq!(code, 78, "{verb:?}, {sessions} sessions: {said}");
            assert!(said.contains("is a connection pooler in transaction mode"), "{said}");
            assert!(
                said.contains("help: set results.url to the server itself, or the pooler to session mode"),
                "{said}"
            );
        }
        let program = bed.program([]).set("results.url", servers.url.clone());
        let refused = program.build().unwrap().client().await.unwrap_err();
        assert!(refused.to_string().contains("is a connection pooler in transaction mode"), "{refused}");
    }
}

#[celeriac_tests::test(real)]
async fn a_pooler_in_session_mode_with_one_session_is_not_refused(bed: Bed) {
    let servers = Pooled::start_with(PoolMode::Session, 1).await;
    let (code, said) = run(&["result", "nobody"], &servers.variables(&bed)).await;
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("no result is recorded"), "{said}");
}

/// The reason for the refusal: a wait would end by its next look alone.
#[celeriac_tests::test(real)]
async fn a_notification_behind_a_pooler_in_transaction_mode_reaches_another_client(_bed: Bed) {
    use celeriac::sqlx::Acquire;

    let servers = Pooled::start(PoolMode::Transaction).await;
    let connect = async || {
        let pool = PgPoolOptions::new().max_connections(1).connect(&servers.url).await.unwrap();
        PgListener::connect_with(&pool).await.unwrap()
    };
    let (mut listening, mut other) = (connect().await, connect().await);
    sqlx::raw_sql("LISTEN celeriac_finished").execute(listening.acquire().await.unwrap()).await.unwrap();
    // The pooler gives the session that listens to the next client.
    sqlx::raw_sql("BEGIN").execute(other.acquire().await.unwrap()).await.unwrap();
    let mut direct = PgConnection::connect(&servers.direct).await.unwrap();
    sqlx::raw_sql("NOTIFY celeriac_finished, 'one'").execute(&mut direct).await.unwrap();
    sqlx::raw_sql("ROLLBACK").execute(other.acquire().await.unwrap()).await.unwrap();
    let heard = timeout(Duration::from_secs(20), other.recv()).await.unwrap().unwrap();
    assert_eq!((heard.channel(), heard.payload()), ("celeriac_finished", "one"));
    sqlx::raw_sql("SELECT 1").execute(listening.acquire().await.unwrap()).await.unwrap();
    assert!(listening.next_buffered().is_none());
}
