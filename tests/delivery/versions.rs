//! The present program takes over from each released version, and leaves it a way back.
//!
//! `tests/fixtures/VERSION` holds the tables, the topology, the messages and the statements of that
//! version. `cargo xtask fixtures` writes the folder of the present version.
//!
//! - `fixture`: the files, written and restored;
//! - `message`: a message of AMQP as JSON;
//! - `record`: the tasks of a fixture, and their recording;
//! - `statements`: the SQL of a program, from the log of its server.

mod fixture;
mod message;
mod record;
mod statements;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use celeriac::TaskRecord;
use celeriac::sqlx::{self, AssertSqlSafe};
use celeriac_config::Environment;
use celeriac_tests::Bed;
use celeriac_tests::bed::on_real_servers;
use celeriac_tests::wait::eventually;
use serde_json::{Value as Json, json};

use crate::command_line::run;
use fixture::Fixture;
use record::{World, add, program, record};

/// The columns of the tables, and how a program can leave them out of an INSERT.
const COLUMNS: &str = "SELECT table_name || '.' || column_name || ' ' || data_type,
        is_nullable = 'YES' OR column_default IS NOT NULL OR is_identity = 'YES' OR is_generated = 'ALWAYS'
    FROM information_schema.columns WHERE table_schema = 'celeriac'";

type Columns = BTreeMap<String, bool>;

async fn columns(bed: &Bed) -> Columns {
    let rows: Vec<(String, bool)> = sqlx::query_as(COLUMNS).fetch_all(&mut bed.database().await).await.unwrap();
    rows.into_iter().collect()
}

/// Returns the changes that a program of the older version does not survive.
fn hurting(older: &Columns, present: &Columns) -> Vec<String> {
    let tables: Vec<_> = older.keys().filter_map(|column| column.split('.').next()).collect();
    let gone = older.keys().filter(|column| !present.contains_key(*column)).map(|column| format!("{column} is gone"));
    let added = present.iter().filter(|(column, _)| !older.contains_key(*column));
    let asked = added.filter(|(column, may_be_left_out)| {
        !**may_be_left_out && column.split('.').next().is_some_and(|table| tables.contains(&table))
    });
    gone.chain(asked.map(|(column, _)| format!("{column} is new and needs a value"))).collect()
}

/// Returns the statements that the tables refuse, each with the reason.
async fn refused(bed: &Bed, statements: &[String]) -> Vec<String> {
    let mut database = bed.database().await;
    let mut refused = Vec::new();
    for statement in statements {
        let prepare = format!("PREPARE older AS {statement}\n; DEALLOCATE older");
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut database).await {
            refused.push(format!("{error}: {statement}"));
        }
    }
    refused
}

/// Returns a row in the words of `expected.json`.
fn told(row: &TaskRecord) -> Json {
    json!({ "state": row.state.as_str(), "result": row.result, "attempts": row.attempts })
}

#[test]
fn the_present_program_takes_over_from_each_released_version_and_leaves_a_way_back() {
    for (version, fixture) in Fixture::all() {
        on_real_servers(None, async |bed: Bed| take_over(&bed, &version, &fixture).await);
    }
}

async fn take_over(bed: &Bed, version: &str, fixture: &Fixture) {
    fixture.restore(bed).await;
    let older = columns(bed).await;
    assert_eq!(refused(bed, &fixture.statements).await, Vec::<String>::new(), "on its own tables");
    let (code, said) = run(&["setup"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");

    let world = Arc::new(World::default());
    let running = bed.start(program(bed, &bed.database_url(), Arc::clone(&world))).await;
    let row = async |id: &str| running.client.handle::<Json>(id).record().await.unwrap();
    for (id, expected) in fixture.expected() {
        let known = async || row(id).await.map(|row| told(&row));
        eventually(&format!("{version}: {id}"), known, |told| told.as_ref() == Some(&expected["first"])).await;
    }
    world.mended.store(true, Ordering::Relaxed);
    let (code, said) = run(&["dead", "replay", "-Q", "celeriac", "-y"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    for (id, expected) in fixture.expected() {
        let known = async || row(id).await.map(|row| told(&row));
        eventually(&format!("{version}: {id}"), known, |told| told.as_ref() == Some(&expected["last"])).await;
    }
    let keyed = add(12, 13).idempotency_key("order-17").submit(&running.client).await.unwrap();
    assert_eq!(keyed.id(), "keyed", "its key was used by the older version");
    let peer = bed.peer().await;
    assert_eq!((peer.ready("celeriac").await, peer.ready("celeriac.dead").await), (0, 0));

    // The way back: a program of the older version reads and writes these tables.
    assert_eq!(hurting(&older, &columns(bed).await), Vec::<String>::new());
    assert_eq!(refused(bed, &fixture.statements).await, Vec::<String>::new());
}

#[celeriac_tests::test(real)]
async fn a_released_version_reads_the_messages_of_the_present_one(bed: Bed) {
    let present = record(&bed).await;
    if Environment::from_process().get("CELERIAC_FIXTURES") == Some("write") {
        present.write();
    }
    for (version, older) in Fixture::all() {
        for message in &older.messages {
            let id = message.header("id");
            let same = present.messages.iter().find(|other| other.header("id") == id);
            let same = same.unwrap_or_else(|| panic!("{version}: there is no message of {id:?}"));
            assert_eq!(same.missing_from(message), Vec::<String>::new(), "{version}: {id:?}");
        }
    }
}

#[test]
fn what_an_older_program_does_not_survive_is_found() {
    let columns =
        |all: &[(&str, bool)]| all.iter().map(|(name, free)| ((*name).to_owned(), *free)).collect::<Columns>();
    let older = columns(&[("tasks.id text", false), ("tasks.args text", true)]);
    let kinder = columns(&[
        ("tasks.id text", false),
        ("tasks.args text", true),
        ("tasks.later text", true),
        ("others.id bigint", false),
    ]);
    assert_eq!(hurting(&older, &kinder), Vec::<String>::new());
    let harder = columns(&[("tasks.id text", false), ("tasks.args jsonb", true), ("tasks.later text", false)]);
    assert_eq!(hurting(&older, &harder), ["tasks.args text is gone", "tasks.later text is new and needs a value"]);
}
