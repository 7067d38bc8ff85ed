//! Every action of an operator has a row with user, time, target and count.

use std::time::Duration;

use celeriac::sqlx::{self, Connection, PgConnection};
use celeriac_tests::{Bed, eventually};
use lapin::BasicProperties;
use serde_json::{Value as Json, json};

use crate::command_line::run;
use crate::dead::graveyard;

/// The row of an action.
#[derive(Debug, sqlx::FromRow)]
struct AuditRow {
    action: String,
    target: Json,
    count: Option<i64>,
    error: Option<String>,
    ended: bool,
}

async fn rows(database: &mut PgConnection) -> Vec<AuditRow> {
    let query =
        "SELECT action, target, count, error, ended_at IS NOT NULL AS ended FROM celeriac.audit ORDER BY number";
    sqlx::query_as(query).fetch_all(database).await.unwrap()
}

#[celeriac_tests::test(real)]
async fn every_action_of_an_operator_has_a_row_with_target_and_count(bed: Bed) {
    let console = graveyard(&bed).await;
    console.peer.declare("old").await;
    // A client declares what is missing, so the first command is the one that applies.
    let actions: [(&[&str], i32); 6] = [
        (&["topology", "apply", "--yes"], 0),
        (&["dead", "replay", "-t", "mail.welcome", "--limit", "1", "--rate", "20/s", "--yes"], 0),
        (&["dead", "purge", "-Q", "mail", "--older-than", "10m", "--yes"], 0),
        (&["dead", "purge", "--id", "nobody", "--yes"], 65),
        (&["revoke", "order-1", "order-2", "--terminate"], 0),
        (&["topology", "migrate", "old", "--to", "mail", "--delete", "--yes"], 0),
    ];
    // An exchange is missing, so that there is something to apply.
    std::fs::write(console.folder().join("celeriac.yaml"), "exchanges: { shop: {} }").unwrap();
    for (arguments, expected) in actions {
        let (code, said) = console.run(arguments).await;
        assert_eq!(code, expected, "{arguments:?}: {said}");
    }
    // Reading is no action.
    for arguments in [["dead", "list"], ["dead", "purge"], ["topology", "plan"]] {
        let dry = if arguments[1] == "purge" { &["--dry-run"][..] } else { &[] };
        let (code, said) = console.run(&[&arguments[..], dry].concat()).await;
        assert_eq!(code, 0, "{said}");
    }
    let mut database = bed.database().await;
    let found = rows(&mut database).await;
    let queues = json!(["mail.dead", "bills.dead", "celeriac.dead"]);
    let expected = [
        ("topology apply", json!({"objects": ["exchange `shop`"], "migrations": [], "prune": false}), 1),
        (
            "dead replay",
            json!({"queues": queues, "filter": {"task": "mail.welcome"},
            "options": {"drop_expires": false, "limit": 1, "rate": "20/s"}}),
            1,
        ),
        ("dead purge", json!({"queues": ["mail.dead"], "filter": {"older_than": "10m"}, "options": {}}), 2),
        ("dead purge", json!({"queues": queues, "filter": {"id": "nobody"}, "options": {}}), 0),
        ("revoke", json!({"ids": ["order-1", "order-2"], "terminate": true, "for": null}), 2),
        ("topology migrate", json!({"from": "old", "to": "mail", "delete": true}), 0),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (row, (action, target, count)) in found.iter().zip(expected) {
        assert_eq!((row.action.as_str(), &row.target, row.count), (action, &target, Some(count)), "{found:#?}");
        assert!(row.ended, "{row:?}");
    }
    let failure = found[3].error.as_deref().unwrap();
    assert!(failure.contains("no dead letter has this id"), "{failure}");

    let operator = "SELECT os_user, host, program, database_user, client_addr IS NOT NULL,
        began_at BETWEEN clock_timestamp() - interval '5 minutes' AND ended_at FROM celeriac.audit LIMIT 1";
    type Operator = (String, String, String, String, bool, bool);
    let operator: Operator = sqlx::query_as(operator).fetch_one(&mut database).await.unwrap();
    assert!(!operator.0.is_empty() && !operator.1.is_empty(), "{operator:?}");
    assert!(operator.2.contains("celeriac 0."), "{operator:?}");
    assert_eq!((operator.3.as_str(), operator.4, operator.5), ("postgres", true, true), "{operator:?}");
    let author: String = sqlx::query_scalar("SELECT revoked_by FROM celeriac.revocations WHERE id = 'order-1'")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(author, "postgres");
}

#[celeriac_tests::test(real)]
async fn a_setup_has_a_row_with_its_migrations_and_objects(bed: Bed) {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--config", folder.path().to_str().unwrap(), "setup"];
    for _ in 0..2 {
        let (code, said) = run(&flags, &bed.environment()).await;
        assert_eq!(code, 0, "{said}");
    }
    let found = rows(&mut bed.database().await).await;
    // The second setup had nothing to do.
    let [row] = &found[..] else { panic!("{found:#?}") };
    let listed = |key: &str| row.target[key].as_array().unwrap().len();
    assert!(row.action == "setup" && listed("migrations") >= 6 && listed("objects") > 50, "{row:?}");
    assert_eq!(row.count.unwrap(), i64::try_from(listed("migrations") + listed("objects")).unwrap(), "{row:?}");
}

#[celeriac_tests::test(real)]
async fn an_action_whose_process_dies_has_left_its_intent(bed: Bed) {
    let console = graveyard(&bed).await;
    let mut replay = console.start(&["dead", "replay", "-Q", "mail", "--rate", "1/h", "--yes"]);
    let peer = &console.peer;
    eventually("the first replay", async || peer.ready("mail").await, |ready| *ready == 1).await;
    assert!(replay.is_running());
    replay.kill().await;
    let found = rows(&mut bed.database().await).await;
    let [row] = &found[..] else { panic!("{found:#?}") };
    assert_eq!((row.action.as_str(), row.ended, row.count), ("dead replay", false, None), "{row:?}");
}

/// Keeps the end of each row waiting for a lock, which the test holds.
const HOLD_ENDS: &str = "CREATE FUNCTION hold_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock_shared(7);
        RETURN NEW;
    END $$;
    CREATE TRIGGER hold_end BEFORE UPDATE ON celeriac.audit FOR EACH ROW EXECUTE FUNCTION hold_end();
    SELECT pg_advisory_lock(7)";

/// Sessions that wait for that lock.
const ENDING: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[celeriac_tests::test(real)]
async fn a_verb_that_dies_between_its_action_and_the_end_of_its_row_has_a_row_that_has_not_ended(bed: Bed) {
    let console = graveyard(&bed).await;
    console.peer.declare("old").await;
    console.peer.put("old", BasicProperties::default(), b"{}").await;
    std::fs::write(console.folder().join("celeriac.yaml"), "exchanges: { shop: {} }").unwrap();
    let mut database = bed.database().await;
    sqlx::raw_sql(HOLD_ENDS).execute(&mut database).await.unwrap();
    let verbs: [&[&str]; 4] = [
        &["dead", "purge", "-Q", "bills", "--yes"],
        &["revoke", "order-1"],
        &["topology", "apply", "--yes"],
        &["topology", "migrate", "old", "--to", "mail", "--yes"],
    ];
    for verb in verbs {
        let verb_process = console.start(verb);
        let ending = async || sqlx::query_scalar::<_, i32>(ENDING).fetch_all(&mut database).await.unwrap();
        let waiting = eventually("the end of the row waits", ending, |waiting| waiting.len() == 1).await;
        verb_process.kill().await;
        // The server would complete the statement of the dead process.
        let ended = sqlx::query("SELECT pg_terminate_backend($1, 10000)").bind(waiting[0]);
        ended.execute(&mut database).await.unwrap();
    }
    sqlx::raw_sql("SELECT pg_advisory_unlock(7)").execute(&mut database).await.unwrap();
    // Each action was done.
    console.dead("bills", 0).await;
    let revoked = "SELECT count(*) FROM celeriac.revocations WHERE id = 'order-1'";
    assert_eq!(sqlx::query_scalar::<_, i64>(revoked).fetch_one(&mut database).await.unwrap(), 1);
    assert_eq!((console.peer.ready("old").await, console.peer.ready("mail").await), (0, 1));
    let (code, said) = console.run(&["topology", "plan"]).await;
    assert_eq!(code, 0, "the exchange exists: {said}");

    let (code, said) = console.run(&["dead", "purge", "-Q", "mail", "--yes"]).await;
    assert_eq!(code, 0, "{said}");
    let shown = console.json(&["audit"]).await;
    let shown: Vec<_> =
        shown.as_array().unwrap().iter().map(|row| (&row["action"], row["ended_at"].is_null())).collect();
    let names = ["dead purge", "topology migrate", "topology apply", "revoke", "dead purge"].map(Json::from);
    assert_eq!(shown, names.iter().zip([false, true, true, true, true]).collect::<Vec<_>>());
    let open = console.json(&["audit", "--open", "--limit", "3"]).await;
    assert_eq!(open.as_array().unwrap().len(), 3);
    assert!(open.as_array().unwrap().iter().all(|row| row["ended_at"].is_null() && row["count"].is_null()), "{open}");
    let (code, said) = console.run(&["audit"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!((said.matches(": not ended\n").count(), said.matches(": changed 3\n").count()), (4, 1), "{said}");
}

#[celeriac_tests::test(real)]
async fn an_action_without_its_audit_row_does_not_begin(bed: Bed) {
    let console = graveyard(&bed).await;
    std::fs::write(console.folder().join("celeriac.yaml"), "results: { connect_timeout: 300ms }").unwrap();
    let closed = "postgres://postgres@127.0.0.1:1/none";
    let purge = ["dead", "purge", "-Q", "mail", "--yes", "--results"];
    for (arguments, expected) in [
        ([&purge[..], &[closed]].concat(), "`dead purge` changed nothing: its audit row cannot be written"),
        (
            vec!["topology", "migrate", "bills.dead", "--to", "mail", "--yes", "--results", closed],
            "`topology migrate` changed nothing",
        ),
    ] {
        let (code, said) = console.run(&arguments).await;
        assert_eq!(code, 69, "{said}");
        assert!(said.contains(expected) && said.contains("--results none"), "{said}");
    }
    console.dead("mail", 3).await;
    console.dead("bills", 1).await;
    let (code, said) = console.run(&[&purge[..], &["none"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("no audit row, because there is no store: dead purge by "), "{said}");
    console.dead("mail", 0).await;
}

#[celeriac_tests::test(real)]
async fn audit_rows_are_swept_after_their_retention_and_not_before_thirty_days(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let store = client.results().unwrap();
    let mut database = bed.database().await;
    for (age, swept) in [("29 days", 0), ("31 days", 1)] {
        let row = "INSERT INTO celeriac.audit (began_at, action, target, os_user, host, program)
            VALUES (now() - $1::interval, 'revoke', '{}', 'ada', 'here', 'celeriac 0')";
        sqlx::query(row).bind(age).execute(&mut database).await.unwrap();
        assert_eq!(store.sweep_audit(Duration::from_secs(1), 10).await.unwrap(), swept, "{age}");
    }
    database.close().await.unwrap();
}
