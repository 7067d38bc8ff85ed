//! Workers, relay, broker and database are killed in turn, and return.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use celeriac_servers::{Durability, PostgresNode, RabbitNode, RabbitSpec};
use celeriac_tests::Program;
use celeriac_tests::wait::eventually_within;
use tokio_util::sync::CancellationToken;

/// The test's own servers, which can be killed.
pub(crate) struct Ground {
    pub(crate) broker: Arc<RabbitNode>,
    pub(crate) database: Arc<PostgresNode>,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let (broker, database) = tokio::join!(
            blocking(|| RabbitSpec { plugins: Vec::new(), ..RabbitSpec::default() }.start().unwrap()),
            blocking(|| PostgresNode::start(Durability::Real).unwrap())
        );
        Self { broker: Arc::new(broker), database: Arc::new(database) }
    }

    /// Waits until no queue has a message, ready or unacknowledged.
    pub(crate) async fn empty(&self) {
        let messages = async || {
            let broker = Arc::clone(&self.broker);
            let listed = blocking(move || broker.ctl(&["list_queues", "--silent", "messages"]).unwrap()).await;
            listed.lines().filter_map(|count| count.trim().parse::<u64>().ok()).sum::<u64>()
        };
        eventually_within(Duration::from_secs(300), "all queues are empty", messages, |messages| *messages == 0).await;
    }
}

/// Programs of one kind. A killed one is replaced.
pub(crate) struct Crew<'a> {
    start: Box<dyn Fn(usize) -> Program + 'a>,
    running: Vec<Program>,
    started: usize,
}

impl<'a> Crew<'a> {
    /// Starts this many.
    pub(crate) fn start(count: usize, start: impl Fn(usize) -> Program + 'a) -> Self {
        let running = (0..count).map(&start).collect();
        Self { start: Box::new(start), running, started: count }
    }

    /// Kills the oldest program and starts another. Returns `false` if there was none.
    pub(crate) async fn kill_one(&mut self) -> bool {
        self.tend();
        if self.running.is_empty() {
            return false;
        }
        self.running.remove(0).kill_tree().await;
        self.add();
        true
    }

    /// Restarts programs that have ended by themselves, as a supervisor does: their servers were
    /// down when they started.
    pub(crate) fn tend(&mut self) {
        let before = self.running.len();
        self.running.retain_mut(Program::is_running);
        for _ in self.running.len()..before {
            self.add();
        }
    }

    fn add(&mut self) {
        self.running.push((self.start)(self.started));
        self.started += 1;
    }

    /// Stops all of them in order, after they have reported that they are ready.
    pub(crate) async fn stop(mut self, ready: &str) {
        self.tend();
        for program in &mut self.running {
            program.says(ready).await;
            program.signal("TERM");
        }
        for program in &mut self.running {
            assert_eq!(program.exit_code(Duration::from_secs(60)).await, 0, "{}", program.output());
        }
    }
}

/// Number of kills of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kills {
    pub(crate) workers: u32,
    pub(crate) relays: u32,
    pub(crate) brokers: u32,
    pub(crate) databases: u32,
}

impl fmt::Display for Kills {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, relays, brokers, databases } = self;
        write!(formatter, "killed: workers {workers}, relays {relays}, broker {brokers}, postgres {databases}")
    }
}

/// Kills one after the other, in whole rounds with random pauses, until `done`.
pub(crate) async fn keep_killing(
    ground: &Ground,
    workers: &mut Crew<'_>,
    relays: &mut Crew<'_>,
    pause: Range<u64>,
    done: &CancellationToken,
) -> Kills {
    let wait = async || tokio::time::sleep(Duration::from_millis(fastrand::u64(pause.clone()))).await;
    let mut kills = Kills::default();
    while !done.is_cancelled() {
        wait().await;
        kills.workers += u32::from(workers.kill_one().await);
        wait().await;
        kills.relays += u32::from(relays.kill_one().await);
        wait().await;
        let broker = Arc::clone(&ground.broker);
        blocking(move || broker.kill().and_then(|()| broker.restart()).unwrap()).await;
        kills.brokers += 1;
        wait().await;
        kills.workers += u32::from(workers.kill_one().await);
        wait().await;
        let database = Arc::clone(&ground.database);
        blocking(move || database.kill().and_then(|()| database.restart()).unwrap()).await;
        kills.databases += 1;
    }
    kills
}

/// Runs blocking work on a thread of its own, such as starting and killing servers.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
