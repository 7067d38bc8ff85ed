//! A replay of dead letters is killed, and loses its connection, repeatedly.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use celeriac_broker::BrokerOptions;
use celeriac_config::Secret;
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Peer, Program, Proxy};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};

use crate::connection_cut::server_of;
use crate::ledger::is_long;

/// A full dead-letter queue.
struct Letters {
    bed: Bed,
    peer: Peer,
    journal: tempfile::NamedTempFile,
    count: u32,
}

impl Letters {
    async fn fill(bed: Bed, count: u32) -> Self {
        let peer = bed.peer().await;
        let letters = Self { bed, peer, journal: tempfile::NamedTempFile::new().unwrap(), count };
        let mut declared = letters.program(&["call", "test.note", "-a", "[0]"], letters.bed.amqp_url());
        assert_eq!(declared.exit_code(Duration::from_secs(60)).await, 0, "{}", declared.output());
        letters.peer.purge("celeriac").await;
        for number in 0..count {
            let mut headers = FieldTable::default();
            let id = format!("dead-{number}");
            for (name, value) in [("task", "test.note"), ("id", &id), ("celeriac-dead-reason", "exhausted")] {
                headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
            }
            let properties = BasicProperties::default().with_headers(headers).with_delivery_mode(2);
            let properties = properties.with_content_type("application/json".into());
            letters.peer.put("celeriac.dead", properties, format!("[[{number}],{{}},{{}}]").as_bytes()).await;
        }
        letters.standing(count).await;
        letters
    }

    async fn standing(&self, count: u32) {
        eventually("dead letters", async || self.peer.ready("celeriac.dead").await, |ready| *ready == count).await;
    }

    fn program(&self, arguments: &[&str], broker: String) -> Program {
        let variables =
            [("CELERIAC__BROKER__URL", broker), ("JOURNAL", self.journal.path().to_string_lossy().into_owned())];
        self.bed.process_with(arguments, &variables)
    }

    /// Returns the number of different tasks on the queue.
    async fn put_back(&self) -> usize {
        let options = BrokerOptions { url: Secret::new(self.bed.amqp_url()), ..BrokerOptions::default() };
        let broker = celeriac_broker::connect(&options, "look").unwrap();
        let mut browser = broker.browse("celeriac").await.unwrap();
        let mut ids = HashSet::new();
        while let Some(found) = browser.next().await.unwrap() {
            ids.extend(found.message.headers.text("id").map(str::to_owned));
        }
        browser.close().await.unwrap();
        broker.close().await;
        ids.len()
    }

    /// Runs all returned messages. Returns the number of tasks and the number of runs.
    async fn run(&self) -> (usize, usize) {
        let mut worker = self.program(&["worker", "-l", "warn"], self.bed.amqp_url());
        // A second copy of a task makes no row. A task behind all copies starts after them.
        let call = ["call", "test.note", "-a", "[0]", "--id", "last"];
        let mut last = self.program(&call, self.bed.amqp_url());
        assert_eq!(last.exit_code(Duration::from_secs(60)).await, 0, "{}", last.output());
        eventually_within(
            Duration::from_secs(120),
            "all is run",
            async || {
                let rows = "SELECT count(*) FROM celeriac.tasks WHERE state = 'SUCCESS'";
                sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut self.bed.database().await).await.unwrap_or(0)
            },
            |rows| *rows == i64::from(self.count) + 1,
        )
        .await;
        let mut turns = 0;
        loop {
            worker.signal("TERM");
            assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
            // It returns copies that it has taken and not compared with their rows.
            if self.peer.ready("celeriac").await == 0 {
                break;
            }
            assert!(turns < 10, "the queue is never empty");
            turns += 1;
            worker = self.program(&["worker", "-l", "warn"], self.bed.amqp_url());
            eventually("the queue is empty", async || self.peer.ready("celeriac").await, |ready| *ready == 0).await;
        }
        assert_eq!(self.peer.ready("celeriac.dead").await, 0);
        let mut runs: HashMap<String, usize> = HashMap::new();
        for line in std::fs::read_to_string(self.journal.path()).unwrap().lines() {
            *runs.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        runs.remove("last");
        (runs.len(), runs.values().sum())
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_replay_that_is_killed_again_and_again_loses_nothing_and_doubles_no_more_than_one_task_each_time(bed: Bed) {
    let letters = Letters::fill(bed, if is_long() { 20_000 } else { 2_000 }).await;
    let mut kills = 0;
    while kills < 40 && letters.peer.ready("celeriac.dead").await > 0 {
        let before = letters.peer.ready("celeriac").await;
        let mut replay = letters.program(&["dead", "replay", "--yes"], letters.bed.amqp_url());
        // The kill comes at any point of the replay.
        let begun = async || letters.peer.ready("celeriac").await > before;
        eventually("it replays", begun, |begun| *begun).await;
        let moment = Duration::from_millis(fastrand::u64(0..150));
        if tokio::time::timeout(moment, replay.ended()).await.is_err() {
            replay.kill().await;
            kills += 1;
        }
        // Its unacknowledged messages return after the broker has seen its end.
        let stable = async || {
            let (put_back, dead) = (letters.peer.ready("celeriac").await, letters.peer.ready("celeriac.dead").await);
            put_back + dead
        };
        eventually("everything is back", stable, |all| *all >= letters.count).await;
    }
    // The messages of a killed replay may return late, behind duplicates that complete the number.
    let complete = async || {
        let mut rest = letters.program(&["dead", "replay", "--yes"], letters.bed.amqp_url());
        assert_eq!(rest.exit_code(Duration::from_secs(60)).await, 0, "{}", rest.output());
        letters.put_back().await
    };
    eventually("all are put back", complete, |ids| *ids == letters.count as usize).await;
    let put_back = letters.peer.ready("celeriac").await;
    let doubled = put_back - letters.count;
    let (tasks, runs) = letters.run().await;
    println!(
        "replay killed {kills} times: {} dead letters, {put_back} put back, doubled {doubled}, tasks run {tasks}, runs {runs}",
        letters.count
    );
    assert!(kills > 3, "the test has to kill to mean anything");
    assert_eq!(tasks, letters.count as usize, "none is lost");
    assert!(doubled <= kills, "doubled {doubled} in {kills} kills");
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_replay_whose_connection_is_cut_again_and_again_goes_on_and_loses_nothing(bed: Bed) {
    let letters = Letters::fill(bed, 2_000).await;
    let broker = server_of(&letters.bed.amqp_url());
    let proxy = Proxy::before(broker.clone()).await;
    let url = proxy.url(&letters.bed.amqp_url(), &broker);
    let mut replay = letters.program(&["dead", "replay", "--yes"], url);
    let mut cuts = 0;
    let cutting = async {
        loop {
            let before = letters.peer.ready("celeriac").await;
            let more = async || letters.peer.ready("celeriac").await > before + 100;
            eventually("it goes on", more, |more| *more).await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..50))).await;
            proxy.cut();
            cuts += 1;
            if cuts == 5 {
                return;
            }
        }
    };
    cutting.await;
    let code = replay.exit_code(Duration::from_secs(120)).await;
    let said = replay.rest().await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(" replayed, 0 left"), "{said}");
    let put_back = letters.peer.ready("celeriac").await;
    let (tasks, runs) = letters.run().await;
    println!("connection cut {cuts} times: 2000 dead letters, {put_back} put back, tasks run {tasks}, runs {runs}");
    assert_eq!(tasks, 2_000, "none is lost");
    assert!(put_back - 2_000 <= 2 * cuts, "doubled {} in {cuts} cuts of two connections", put_back - 2_000);
}
