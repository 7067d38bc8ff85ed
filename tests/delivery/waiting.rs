//! Waits for the ends of tasks: their number, their notifications, and what is unknown.

use std::sync::Arc;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::sqlx::postgres::PgListener;
use celeriac::sqlx::{self, AssertSqlSafe, Connection, Executor, PgConnection};
use celeriac::{Failure, TaskRecord};
use celeriac_client::Error;
use celeriac_config::Secret;
use celeriac_results::{Backend, Recorded, ResultsOptions};
use celeriac_tests::Bed;
use celeriac_tests::wait::PATIENCE;
use futures::future::join_all;
use serde_json::json;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use crate::stage::add;

const MANY: usize = 10_000;

/// Less than the time between two looks at all awaited tasks. An end that is found within it was
/// notified.
const BEFORE_THE_LOOK: Duration = Duration::from_secs(9);

/// A client that waits, and a store that records as a worker does.
struct Waiting {
    client: Client,
    worker: Arc<dyn Backend>,
    database: PgConnection,
}

/// A session of the database, and the start of its last statement.
type Session = (i32, String, String);

impl Waiting {
    async fn open(bed: &Bed) -> Self {
        let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
        let client = bed.client(bed.program(tasks![add])).await;
        let worker = celeriac_results::connect(&options).await.unwrap().unwrap();
        Self { client, worker, database: bed.database().await }
    }

    /// Returns the sessions of the client and of the worker.
    async fn sessions(&mut self) -> Vec<Session> {
        let sessions = "SELECT pid, query, query_start::text FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'celeriac' ORDER BY pid";
        sqlx::query_as(sessions).fetch_all(&mut self.database).await.unwrap()
    }

    /// Waits until the waits so far are registered and checked.
    async fn checked(&self) {
        for marker in ["marker-1", "marker-2"] {
            self.record(&[success(marker, "0")]).await;
            assert_eq!(self.client.handle::<i64>(marker).get().await.unwrap(), 0);
        }
    }

    async fn record(&self, records: &[TaskRecord]) {
        let recorded = self.worker.record(records).await.unwrap();
        assert!(recorded.iter().all(|recorded| *recorded == Recorded::Stored), "{recorded:?}");
    }

    async fn sql(&mut self, statements: &str) {
        self.database.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await.unwrap();
    }
}

fn success(id: &str, result: &str) -> TaskRecord {
    TaskRecord {
        result: Some(result.to_owned()),
        worker: "w".into(),
        attempts: 1,
        finished_at: Some("2026-11-30T12:00:00Z".parse().unwrap()),
        ..TaskRecord::new(id, "t.add", TaskState::Success)
    }
}

fn failure(id: &str) -> TaskRecord {
    let failure = Some(Failure::new("ValueError", "no good"));
    TaskRecord { failure, result: None, ..TaskRecord { state: TaskState::Failure, ..success(id, "") } }
}

#[celeriac_tests::test(real)]
async fn ten_thousand_waits_have_one_connection_and_read_nothing_after_the_notification(bed: Bed) {
    let mut waiting = Waiting::open(&bed).await;
    let before = waiting.sessions().await;
    let ids: Vec<String> = (0..MANY).map(|number| format!("many-{number}")).collect();
    let client = waiting.client.clone();
    let waits = ids.iter().map(|id| {
        let handle = client.handle::<usize>(id);
        async move { handle.get_timeout(PATIENCE).await.map_err(|error| error.to_string()) }
    });
    // Without tokio's budget, whose end would leave most of the waits for a later poll.
    let mut waits = std::pin::pin!(unconstrained(join_all(waits)));
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    let steps = async {
        waiting.checked().await;
        let during = waiting.sessions().await;
        let new: Vec<_> = during.iter().filter(|(pid, ..)| before.iter().all(|(known, ..)| known != pid)).collect();
        let [listening] = new[..] else { panic!("the new sessions of {MANY} waits: {new:?}") };
        let records: Vec<_> = ids.iter().enumerate().map(|(number, id)| success(id, &number.to_string())).collect();
        let begun = Instant::now();
        for batch in records.chunks(256) {
            waiting.record(batch).await;
        }
        (listening.clone(), begun)
    };
    let (ended, (listening, begun)) = tokio::join!(waits, steps);
    let took = begun.elapsed();
    assert!(took < BEFORE_THE_LOOK, "the waits have ended after {took:?}");
    let expected: Vec<_> = (0..MANY).map(Ok).collect();
    assert_eq!(ended, expected);
    assert!(waiting.sessions().await.contains(&listening), "{listening:?} has run another statement");
    waiting.worker.close().await;
}

#[celeriac_tests::test(real)]
async fn large_results_and_whole_rows_are_read_together(bed: Bed) {
    let mut waiting = Waiting::open(&bed).await;
    let large = json!("x".repeat(2_000)).to_string();
    let client = waiting.client.clone();
    let of = |name: &'static str| (0..200).map(move |number| format!("{name}-{number}"));
    let texts = join_all(of("large").map(|id| {
        let handle = client.handle::<String>(id);
        async move { handle.get().await.map(|text| text.len()).map_err(|error| error.to_string()) }
    }));
    let rows = join_all(of("row").map(|id| {
        let handle = client.handle::<i64>(id);
        async move { handle.wait().await.map(|row| (row.args, row.result)).map_err(|error| error.to_string()) }
    }));
    let record = async {
        waiting.checked().await;
        let begun = Instant::now();
        let larges: Vec<_> = of("large").map(|id| success(&id, &large)).collect();
        let args = Some("[1]".to_owned());
        let rows: Vec<_> = of("row").map(|id| TaskRecord { args: args.clone(), ..success(&id, "7") }).collect();
        waiting.record(&larges).await;
        waiting.record(&rows).await;
        begun
    };
    let (texts, rows, begun) = tokio::join!(texts, rows, record);
    assert!(begun.elapsed() < BEFORE_THE_LOOK, "{:?}", begun.elapsed());
    assert!(texts.iter().all(|text| *text == Ok(2_000)), "{texts:?}");
    let row = Ok((Some("[1]".to_owned()), Some("7".to_owned())));
    assert!(rows.iter().all(|found| *found == row), "{rows:?}");
    assert!(waiting.sessions().await.iter().any(|(_, query, _)| query.contains("id = ANY($1)")), "a batched read");
    waiting.worker.close().await;
}

#[celeriac_tests::test(real)]
async fn an_outcome_in_a_notification_is_that_of_the_row(bed: Bed) {
    let waiting = Waiting::open(&bed).await;
    let mut listener = PgListener::connect(&bed.database_url()).await.unwrap();
    listener.listen("celeriac_finished").await.unwrap();
    // As of a success, a failure and a number that `jsonb` writes in another form.
    let ends = [success("s", r#"{"b":[1.50,"é"],"a":null}"#), failure("f"), success("n", "1e3")];
    for end in &ends {
        let handle = waiting.client.handle::<serde_json::Value>(&end.id);
        let (notified, ()) = tokio::join!(handle.get(), async {
            waiting.checked().await;
            waiting.record(std::slice::from_ref(end)).await;
        });
        let read = handle.get().await;
        assert_eq!(format!("{notified:?}"), format!("{read:?}"), "{}", end.id);
        let payload = loop {
            let payload = listener.recv().await.unwrap().payload().to_owned();
            if payload.starts_with(&end.id) && !payload.starts_with("marker") {
                break payload;
            }
        };
        // A program of an earlier version reads each line as an id.
        assert!(payload.split('\n').any(|line| line == end.id), "{payload}");
        assert_eq!(payload.contains("\n\t"), end.id != "n", "{payload}");
        assert!(!payload.contains("1.50") && !payload.contains("no good"), "{payload}");
    }
    waiting.worker.close().await;
}

#[celeriac_tests::test(real)]
async fn an_outcome_that_another_one_keeps_out_is_not_in_the_notification(bed: Bed) {
    let waiting = Waiting::open(&bed).await;
    waiting.record(&[success("a", "1")]).await;
    let mut listener = PgListener::connect(&bed.database_url()).await.unwrap();
    listener.listen("celeriac_finished").await.unwrap();
    let handle = waiting.client.handle::<i64>("b");
    let late = TaskRecord { worker: "late".into(), ..failure("a") };
    let (ended, recorded) = tokio::join!(handle.get(), async {
        waiting.checked().await;
        waiting.worker.record(&[late, success("b", "2")]).await.unwrap()
    });
    assert_eq!(ended.unwrap(), 2);
    assert_eq!(recorded, [Recorded::Kept(TaskState::Success), Recorded::Stored]);
    let payload = loop {
        let payload = listener.recv().await.unwrap().payload().to_owned();
        if !payload.starts_with("marker") {
            break payload;
        }
    };
    assert_eq!(payload, "a\nb");
    assert_eq!(waiting.client.handle::<i64>("a").get().await.unwrap(), 1);
    waiting.worker.close().await;
}

#[celeriac_tests::test(real)]
async fn a_notification_of_an_earlier_version_and_a_forged_one_lead_to_the_row(bed: Bed) {
    let mut waiting = Waiting::open(&bed).await;
    let (client, row) = (waiting.client.clone(), |id: &str, state: &str, result: &str| {
        format!(
            "INSERT INTO celeriac.tasks (id, name, state, queue, exchange, routing_key, worker, attempts, result, finished_at)
             VALUES ('{id}', 't.add', '{state}', '', '', '', 'old', 1, '{result}', now());"
        )
    });
    let mut waits = std::pin::pin!(join_all(["one", "two", "three"].map(|id| {
        let handle = client.handle::<i64>(id);
        async move { handle.get().await.unwrap() }
    })));
    assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
    let notify = async {
        waiting.checked().await;
        // Neither is an end: no row, and a row that has not ended.
        waiting.sql(&row("three", "STARTED", "9")).await;
        waiting
            .sql("NOTIFY celeriac_finished, E'two\\nthree\\n\\t/5r+AAAA'; NOTIFY celeriac_finished, E'\\n\\t';")
            .await;
        waiting.checked().await;
        let begun = Instant::now();
        let rows = [row("one", "SUCCESS", "1"), row("two", "SUCCESS", "2")].concat();
        let ended = "UPDATE celeriac.tasks SET state = 'SUCCESS', result = '3' WHERE id = 'three';";
        waiting.sql(&format!("{rows}{ended} NOTIFY celeriac_finished, E'one\\nnobody\\ntwo'")).await;
        waiting.sql("NOTIFY celeriac_finished, E'three\\n\\tnot sealed at all'").await;
        begun
    };
    let (ended, begun) = tokio::join!(waits, notify);
    assert_eq!(ended, [1, 2, 3]);
    assert!(begun.elapsed() < BEFORE_THE_LOOK, "{:?}", begun.elapsed());
    waiting.worker.close().await;
}

#[celeriac_tests::test(real)]
async fn the_key_of_outcomes_is_read_by_readers_of_all_tasks_alone(bed: Bed) {
    let mut waiting = Waiting::open(&bed).await;
    let user = format!("listens_{}", bed.management().1);
    waiting.sql(&format!("CREATE USER {user}; GRANT USAGE ON SCHEMA celeriac TO {user}")).await;
    let url = bed.database_url().replace("postgres@", &format!("{user}@"));
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut keys = async || {
        let keys = sqlx::query_scalar::<_, Vec<u8>>("SELECT key FROM celeriac.notification_key");
        keys.fetch_all(&mut connection).await.unwrap().len()
    };
    assert_eq!(keys().await, 0, "may not read tasks");
    waiting.sql(&format!("GRANT SELECT (id, state) ON celeriac.tasks TO {user}")).await;
    assert_eq!(keys().await, 0, "may not read results");
    waiting.sql(&format!("GRANT SELECT ON celeriac.tasks TO {user}")).await;
    assert_eq!(keys().await, 1, "may read tasks");
    waiting.sql("ALTER TABLE celeriac.tasks ENABLE ROW LEVEL SECURITY").await;
    assert_eq!(keys().await, 0, "may read some of the tasks");
    let refused = sqlx::query("SELECT key FROM celeriac.notification_keys").fetch_all(&mut connection).await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
    connection.close().await.unwrap();
    waiting.sql(&format!("DROP OWNED BY {user}; DROP USER {user}")).await;
    waiting.worker.close().await;
}

#[celeriac_tests::test(real)]
async fn a_full_queue_of_notifications_keeps_no_outcome_from_being_recorded(bed: Bed) {
    let mut waiting = Waiting::open(&bed).await;
    // Stands for a server whose queue a session has not read for a long time.
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&mut waiting.database).await.unwrap();
    let full = "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'; END $$";
    waiting.sql(&format!("{full}; ALTER DATABASE {name} SET search_path = public, pg_catalog")).await;
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let worker = celeriac_results::connect(&options).await.unwrap().unwrap();
    // A record that the database refuses by itself stays refused.
    let refused = TaskRecord { result: Some("{".to_owned()), ..success("c", "1") };
    let recorded = worker.record(&[success("a", "1"), success("b", "2"), refused]).await.unwrap();
    assert!(matches!(recorded[..], [Recorded::Stored, Recorded::Stored, Recorded::Refused { .. }]), "{recorded:?}");
    assert_eq!(waiting.client.handle::<i64>("b").get().await.unwrap(), 2);
    worker.close().await;
    waiting.worker.close().await;
}

#[celeriac_tests::test]
async fn a_task_of_which_nothing_is_known_is_unknown_and_one_that_was_sent_is_pending(bed: Bed) {
    let client = bed.client(bed.program(tasks![add])).await;
    let patience = Duration::from_secs(1);
    let nobody = client.handle::<i64>("nobody");
    // A task that runs for the first time has no row either.
    assert_eq!(nobody.status().await.unwrap(), TaskState::Pending);
    assert!(!nobody.ready().await.unwrap());
    let recording = bed.client(bed.program(tasks![add]).set("results.track", "sent")).await;
    let unsent = recording.handle::<i64>("nobody");
    for unknown in [
        unsent.status().await.unwrap_err(),
        unsent.ready().await.unwrap_err(),
        nobody.get_timeout(patience).await.unwrap_err(),
        nobody.wait_timeout(patience).await.unwrap_err(),
    ] {
        assert!(matches!(&unknown, Error::Unknown { id } if id == "nobody"), "{unknown:?}");
        assert!(unknown.is_retryable() && unknown.help().unwrap().contains("results.track"), "{unknown}");
    }
    assert_eq!(nobody.record().await.unwrap(), None);
    // There is no worker, so nothing is recorded.
    let sent = add(1, 2).submit(&client).await.unwrap();
    assert_eq!(sent.status().await.unwrap(), TaskState::Pending);
    assert!(!sent.ready().await.unwrap());
    assert!(matches!(sent.get_timeout(patience).await, Err(Error::Timeout { .. })));
    // Another process has recorded a step.
    let store = client.results().unwrap();
    store.record(&[TaskRecord::new("runs", "t.add", TaskState::Started)]).await.unwrap();
    let runs = client.handle::<i64>("runs");
    assert_eq!(runs.status().await.unwrap(), TaskState::Started);
    assert!(matches!(runs.get_timeout(patience).await, Err(Error::Timeout { .. })));
}

#[celeriac_tests::test]
async fn an_ignored_result_is_an_error_at_once_or_when_the_task_has_ended(bed: Bed) {
    let client = bed.client(bed.program(tasks![add])).await;
    let ignored = add(1, 2).ignore_result().submit(&client).await.unwrap();
    for error in [ignored.get().await.unwrap_err(), ignored.wait().await.unwrap_err()] {
        assert!(matches!(&error, Error::Ignored { id } if id == ignored.id()), "{error:?}");
    }
    // Another client does not know of the call. The row of a task that was retried has no result.
    let store = client.results().unwrap();
    let end = success("i", "");
    store.record(&[TaskRecord { state: TaskState::Ignored, result: None, ..end }]).await.unwrap();
    let elsewhere = client.handle::<()>("i");
    assert!(matches!(elsewhere.get().await, Err(Error::Ignored { .. })));
    assert_eq!(elsewhere.wait().await.unwrap().state, TaskState::Ignored);
}
