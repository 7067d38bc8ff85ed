//! Machines whose clocks are wrong, and clocks that are set while work goes on.

use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac::{Call, Client, sqlx};
use celeriac_servers::WrongClock;
use celeriac_telemetry::clock;
use celeriac_tests::wait::eventually_within;
use celeriac_tests::{Bed, Book, Effects, Program, eventually};
use jiff::{SignedDuration, Timestamp};
use sqlx::{Connection, PgConnection};

use crate::lateness::{Lateness, TOLERANCE};
use crate::ledger::is_long;

const HOUR: i64 = 3_600;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Longest delay of a start on a busy machine, in seconds.
const LATE: f64 = 8.0;

/// Records an effect in the transaction of its outcome. Run by the test program.
#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// Fails this often. Run by the test program.
#[task(name = "test.retry")]
fn retry(pattern: String, failures: u32) -> u32;

/// Effects by the database's clock, against the times of their senders.
const LATENESS: &str = "SELECT extract(epoch FROM at - due)::double precision AS late
    FROM ledger.effects JOIN due USING (id)";

/// Starts of attempts, against the times that their predecessors set.
const RETRIED: &str = "SELECT extract(epoch FROM started_at - before)::double precision AS late FROM (
    SELECT started_at, lag(next_at) OVER (PARTITION BY id ORDER BY attempt) AS before FROM celeriac.attempt_history
) AS attempts WHERE before IS NOT NULL";

/// Rows with a time that is not within the test.
const STRAYED: &str = "SELECT count(*) FROM celeriac.tasks
    WHERE NOT (received_at BETWEEN $1 AND clock_timestamp() + interval '1 s')
    OR NOT (coalesce(finished_at, now()) BETWEEN $1 AND clock_timestamp() + interval '1 s')";

fn after(wait: Duration) -> Timestamp {
    clock::now().checked_add(wait).unwrap()
}

/// A machine with a clock that is this many seconds ahead.
async fn machine(ahead: i64) -> WrongClock {
    tokio::task::spawn_blocking(move || WrongClock::new(ahead)).await.unwrap().unwrap()
}

async fn worker(bed: &Bed, name: &str, machine: &WrongClock) -> Program {
    let mut worker = bed.process_with(&["worker", "-l", "info", "-c", "8", "-n", name], &machine.variables());
    worker.says_within(2 * MINUTE, "ready").await;
    worker
}

/// Tasks that have to take effect, with the times at which they are due.
struct Due {
    book: Book,
    database: PgConnection,
}

impl Due {
    async fn open(bed: &Bed) -> Self {
        let book = Book::open(&bed.database_url(), Effects::Written).await;
        let mut database = bed.database().await;
        let table = "CREATE TABLE due (id text PRIMARY KEY, due timestamptz NOT NULL)";
        sqlx::raw_sql(table).execute(&mut database).await.unwrap();
        Self { book, database }
    }

    async fn submit(&mut self, client: &Client, wait: Duration, call: Call<impl celeriac_protocol::Task>) -> String {
        let due = after(wait);
        let id = client.submit(call).await.unwrap().id().to_owned();
        self.add(&id, due).await;
        id
    }

    async fn submit_in(&mut self, client: &Client, wait: Duration, call: Call<impl celeriac_protocol::Task>) {
        let due = after(wait);
        let mut transaction = self.database.begin().await.unwrap();
        let id = client.submit_in(&mut transaction, call).await.unwrap().id().to_owned();
        transaction.commit().await.unwrap();
        self.add(&id, due).await;
    }

    async fn add(&mut self, id: &str, due: Timestamp) {
        let add = sqlx::query("INSERT INTO due VALUES ($1, $2::timestamptz)").bind(id).bind(due.to_string());
        add.execute(&mut self.database).await.unwrap();
        self.book.issue(&[id.to_owned()]).await;
    }

    async fn count(&mut self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.database).await.unwrap()
    }

    /// Waits until each task has taken effect, and checks that each has done so once, and in its
    /// time. Returns the figures.
    async fn settle(&mut self) -> String {
        self.book.settle(Duration::from_secs(30)).await;
        let tally = self.book.tally().await;
        assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
        let Lateness { earliest, p50, latest, .. } = Lateness::measure(&mut self.database, LATENESS).await;
        let figures = format!("{tally}; late by {p50:.3} s p50, {latest:.3} s at most, {earliest:.3} s at least");
        assert!(earliest > -TOLERANCE && latest < LATE, "{figures}");
        figures
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn workers_an_hour_apart_decide_by_the_clock_of_the_database(bed: Bed) {
    let rounds = if is_long() { 400 } else { 10 };
    let client = bed.client(bed.program([])).await;
    let mut due = Due::open(&bed).await;
    let begun: String = sqlx::query_scalar("SELECT now()::text").fetch_one(&mut due.database).await.unwrap();
    let (ahead, right, behind) = (machine(HOUR).await, machine(0).await, machine(-HOUR).await);
    // The first one relays.
    let mut workers = Vec::new();
    for (name, machine) in [("ahead", &ahead), ("behind", &behind), ("right", &right)] {
        workers.push(worker(&bed, name, machine).await);
    }
    let (mut revoked, mut released) = (Vec::new(), Vec::new());
    let wait = 6 * SECOND;
    for _ in 0..10 {
        revoked.push(effect_exactly(0).delay(wait).submit(&client).await.unwrap().id().to_owned());
        released.push(due.submit(&client, wait, effect_exactly(0).delay(wait)).await);
    }
    client.revoke(&released).lasting(SECOND).await.unwrap();
    client.revoke(&revoked).lasting(30 * MINUTE).await.unwrap();
    let (mut retried, mut expired) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let wait = SECOND * (1 + round % 3);
        due.submit(&client, Duration::ZERO, effect_exactly(0).expires_in(10 * MINUTE)).await;
        due.submit(&client, wait, effect_exactly(0).delay(wait)).await;
        due.submit(&client, wait, effect_exactly(0).eta(after(wait)).expires_at(after(10 * MINUTE))).await;
        due.submit_in(&client, wait, effect_exactly(0).delay(wait).expires_in(10 * MINUTE)).await;
        let pattern = ["hint", "class", "backoff"][usize::try_from(round % 3).unwrap()];
        retried.push(retry(pattern.to_owned(), 2).submit(&client).await.unwrap());
        let short = effect_exactly(0).delay(2 * SECOND).expires_in(SECOND);
        expired.push(short.submit(&client).await.unwrap().id().to_owned());
    }
    // Senders with wrong clocks.
    for machine in [&ahead, &behind] {
        let options = ["--countdown", "2s", "--expires", "10m"];
        let call = [["call", "test.effect_exactly", "--args", "[0]"].as_slice(), &options].concat();
        let due_at = after(2 * SECOND);
        let mut sender = bed.process_with(&call, &machine.variables());
        assert_eq!(sender.exit_code(MINUTE).await, 0, "{}", sender.output());
        let said = sender.rest().await;
        let id = said.lines().find(|line| line.len() == 36 && line.split('-').count() == 5).unwrap().to_owned();
        due.add(&id, due_at).await;
    }

    let figures = due.settle().await;
    for handle in &retried {
        let row = handle.wait_timeout(Duration::from_secs(30)).await.unwrap();
        assert_eq!((row.state, row.attempts), (TaskState::Success, 3));
    }
    let retries = Lateness::measure(&mut due.database, RETRIED).await;
    assert!(retries.earliest > -TOLERANCE && retries.latest < LATE, "{} to {}", retries.earliest, retries.latest);
    for id in expired.iter().chain(&revoked) {
        let state = async || {
            let row = sqlx::query_scalar::<_, String>("SELECT state FROM celeriac.tasks WHERE id = $1").bind(id);
            row.fetch_optional(&mut due.database).await.unwrap()
        };
        eventually("it is revoked", state, |state| state.as_deref() == Some("REVOKED")).await;
    }
    let strayed = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(STRAYED.replace("$1", &format!("'{begun}'"))));
    assert_eq!(strayed.fetch_one(&mut due.database).await.unwrap(), 0, "rows have the times of the database");
    assert_eq!(due.count("SELECT count(DISTINCT worker) FROM ledger.effects").await, 3, "every worker took part");
    let swept = client.results().unwrap().sweep(30 * MINUTE, 10_000).await.unwrap();
    assert_eq!(swept, 0, "no row is as old as the retention");
    println!(
        "workers an hour ahead, an hour behind and right: {figures}; retries late by {:.3} s at most, {:.3} s at \
         least; expired {}, revoked {}, revoked and released {}, rows swept {swept}",
        retries.latest,
        retries.earliest,
        expired.len(),
        revoked.len(),
        released.len()
    );
    for (mut worker, expected) in workers.into_iter().zip([Some("ahead"), Some("behind"), None]) {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(MINUTE).await, 0, "{}", worker.output());
        assert_eq!(direction(&worker.rest().await), expected);
    }
    client.close().await;
}

/// Returns the direction in which a worker has found its clock to differ first.
fn direction(output: &str) -> Option<&str> {
    let line = output.lines().find(|line| line.contains("machine clock differs"))?;
    line.split("direction=").nth(1)?.split(' ').next()
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_clock_that_is_set_while_work_goes_on_changes_nothing(bed: Bed) {
    let (rounds, tasks) = if is_long() { (60, 100) } else { (4, 20) };
    let client = bed.client(bed.program([])).await;
    let mut due = Due::open(&bed).await;
    let machine = machine(0).await;
    let mut worker = worker(&bed, "stepping", &machine).await;
    let mut effects = 0;
    for round in 0..rounds {
        for number in 0..tasks {
            let wait = SECOND * (1 + number % 2);
            due.submit(&client, wait, effect_exactly(50).delay(wait).expires_in(10 * MINUTE)).await;
        }
        let retried = retry("hint".to_owned(), 1).submit(&client).await.unwrap();
        // Backwards first, and then forwards by twice as much.
        machine.set([-HOUR, HOUR][round % 2]).unwrap();
        effects += i64::from(tasks);
        let ended = async || due.count("SELECT count(*) FROM ledger.effects").await;
        eventually_within(Duration::from_secs(30), "tasks take effect", ended, |ended| *ended >= effects / 2).await;
        assert_eq!(retried.wait_timeout(Duration::from_secs(30)).await.unwrap().attempts, 2);
    }
    let figures = due.settle().await;
    println!("clock set {rounds} times, an hour back and two hours on: {figures}");
    worker.says("machine clock differs").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(MINUTE).await, 0, "{}", worker.output());
    client.close().await;
}

/// The instants at which New York sets its clocks.
const CHANGES: [&str; 2] = ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"];

#[celeriac_tests::test(real, threads = 2)]
async fn the_zone_of_a_process_does_not_matter_when_its_clocks_are_set(bed: Bed) {
    for change in CHANGES {
        let change: Timestamp = change.parse().unwrap();
        let to_change = |before: i64| change.duration_since(clock::now()).as_secs() - before;
        let machine = machine(to_change(60)).await;
        let journal = tempfile::tempdir().unwrap();
        let journal = journal.path().join("journal");
        // Without a store, the machine's own clock decides.
        let variables = || {
            let own = [
                ("TZ", "America/New_York".to_owned()),
                ("CELERIAC__RESULTS__URL", "none".to_owned()),
                ("JOURNAL", journal.to_string_lossy().into_owned()),
            ];
            [machine.variables(), own.to_vec()].concat()
        };
        let mut worker = bed.process_with(&["worker", "-l", "info"], &variables());
        worker.says_within(2 * MINUTE, "ready").await;
        machine.set(to_change(3)).unwrap();
        let begun = Instant::now();
        let eta = change.checked_add(SignedDuration::from_secs(3)).unwrap().to_string();
        let senders: Vec<_> = [["--countdown", "5s"], ["--eta", &eta]]
            .into_iter()
            .map(|time| {
                let call = ["call", "test.note", "--args", "[1]", "--expires", "10m"];
                bed.process_with(&[call.as_slice(), &time].concat(), &variables())
            })
            .collect();
        for mut sender in senders {
            assert_eq!(sender.exit_code(MINUTE).await, 0, "{}", sender.output());
        }
        let lines = || std::fs::read_to_string(&journal).unwrap_or_default().lines().count();
        let first = async || lines();
        eventually("the first of both runs", first, |lines| *lines > 0).await;
        let earliest = begun.elapsed();
        let both = async || lines();
        eventually("both run", both, |lines| *lines == 2).await;
        let latest = begun.elapsed();
        println!("zone New York at {change}: due after 5 s, and run after {earliest:.1?} and {latest:.1?}");
        assert!(
            earliest.as_secs_f64() > 5.0 - TOLERANCE && latest.as_secs_f64() < 6.0 + LATE,
            "{earliest:?} {latest:?}"
        );
        worker.signal("TERM");
        assert_eq!(worker.exit_code(MINUTE).await, 0, "{}", worker.output());
    }
}
