//! PgBouncer between Celeriac and Postgres: session mode works, transaction mode is refused.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_servers::{Durability, PoolMode, PoolerNode, PostgresNode};
use celeriac_tests::{Bed, Program, Running};
use serde_json::{Value as Json, json};
use tokio::task::spawn_blocking;

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
        let started = spawn_blocking(move || {
            let postgres = PostgresNode::start(Durability::Fast)?;
            let pooler = PoolerNode::start(postgres.port(), mode)?;
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
    let expected = "connecting to the outbox failed: postgres://postgres@127.0.0.1:";
    assert!(said.contains(expected) && said.contains("is a connection pooler in transaction mode"), "{said}");
    assert!(said.contains("help: set results.url to the server itself"), "{said}");
    // It left no lock and no setting in a session of the pooler.
    let mut direct = PgConnection::connect(&servers.direct).await.unwrap();
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(sqlx::query_scalar::<_, i64>(locks).fetch_one(&mut direct).await.unwrap(), 0);
    let mut pooled = PgConnection::connect(&servers.url).await.unwrap();
    let row = sqlx::raw_sql("SHOW enable_seqscan").fetch_one(&mut pooled).await.unwrap();
    assert_eq!(sqlx::Row::get::<String, _>(&row, 0), "on");
}

#[celeriac_tests::test(real)]
async fn a_worker_behind_a_pooler_in_transaction_mode_is_told_the_reason(bed: Bed) {
    let servers = Pooled::start(PoolMode::Transaction).await;
    // It prepares its statements in a session that the worker gets.
    let (code, said) = run(&["result", "nobody"], &servers.variables(&bed)).await;
    assert_eq!(code, 65, "{said}");
    let (code, said) = run(&["worker"], &servers.variables(&bed)).await;
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("is a connection pooler in transaction mode"), "{said}");
}
