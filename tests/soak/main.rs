//! Hours of mixed work on private servers, and a verdict on what grows meanwhile.
//!
//! - `work`: the sender of mixed work, and the operator's actions;
//! - `figures`: one line of figures every half minute;
//! - `verdict`: the figures that grew.
#![expect(clippy::expect_used, reason = "a run fails by panicking")]
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod figures;
mod verdict;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use celeriac::Celeriac;
use celeriac_config::Environment;
use celeriac_servers::{Durability, PostgresNode, RabbitNode, RabbitSpec};
use celeriac_tests::wait::{PATIENCE, eventually, eventually_within};
use celeriac_tests::{Book, Effects, Peer, Program};
use clap::Parser;
use tokio_util::sync::CancellationToken;

use figures::{Figures, Meter};
use work::Sender;

/// Run mixed work for hours, and judge what grows
#[derive(Debug, Parser)]
struct Options {
    /// Length of the run
    #[arg(long)]
    hours: f64,
    /// Tasks sent in a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Folder for figures.csv and the logs of the workers
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
}

/// Time between two lines of figures.
const EVERY: Duration = Duration::from_secs(30);

/// Time that rows are kept: short, so that tables have their full size after the first tenth.
const RETENTION: &str = "2m";

/// lapin keeps two buffers of 32 frames for each connection, and uses them from one end to the
/// other before it begins again. With frames of 128 KiB, that takes hours, in which memory grows.
/// RabbitMQ's own limit would not make the buffers smaller, because they are there before it is
/// known.
const FRAME_MAX: &str = "frame_max=8192";

/// Ages at which counts are added up and deleted: the shortest, for the same reason.
const STATS: [(&str, &str); 3] = [
    ("CELERIAC__RESULTS__STATS__TEN_SECONDS", "1m"),
    ("CELERIAC__RESULTS__STATS__MINUTES", "1m"),
    ("CELERIAC__RESULTS__STATS__HOURS", "1m"),
];

/// Longest time without progress at the end of the run.
const END: Duration = Duration::from_secs(120);

const WORKERS: [&str; 2] = ["w1", "w2"];

/// The private servers.
struct Ground {
    broker: RabbitNode,
    database: PostgresNode,
}

impl Ground {
    async fn start() -> Self {
        let start = || Self {
            broker: RabbitSpec::default().start().expect("a RabbitMQ"),
            database: PostgresNode::start(Durability::Real).expect("a Postgres"),
        };
        tokio::task::spawn_blocking(start).await.expect("servers")
    }

    fn broker_url(&self) -> String {
        format!("{}?{FRAME_MAX}", self.broker.url())
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("CELERIAC__BROKER__URL", self.broker_url()),
            ("CELERIAC__RESULTS__URL", self.database.url()),
            ("CELERIAC__RESULTS__RETENTION", RETENTION.to_owned()),
            ("CELERIAC__BROKER__MANAGEMENT_URL", self.broker.management_url().expect("the management plugin")),
        ];
        environment.extend(STATS.map(|(key, value)| (key, value.to_owned())));
        environment
    }

    /// Starts the test program beside this one, with its output in a file: hours of it are too much
    /// for memory.
    fn program(&self, folder: &Path, name: &str, arguments: &[&str]) -> Program {
        let own = std::env::current_exe().expect("the path of this program");
        let path = own.with_file_name("celeriac-test-program").to_string_lossy().into_owned();
        let log = folder.join(name).with_extension("log").to_string_lossy().into_owned();
        let shell = ["-c", "exec \"$@\" >>\"$0\" 2>&1", &log, &path];
        let shell: Vec<_> = shell.into_iter().chain(arguments.iter().copied()).collect();
        Program::start_other("/bin/sh", &shell, &self.environment())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let Options { hours: length, rate, folder } = &options;
    std::fs::create_dir_all(folder).expect("the folder of the run");
    let ground = Ground::start().await;
    let book = Book::open(&ground.database.url(), Effects::Written).await;
    let worker = |name| ground.program(folder, name, &["worker", "-l", "info", "-n", name, "-c", "16"]);
    let mut workers = WORKERS.map(worker);
    let peer = Peer::connect(&ground.broker_url()).await;
    eventually("both workers consume", async || peer.consumers("celeriac").await, |count| *count == Some(2)).await;
    drop(peer);
    let program = Celeriac::builder()
        .environment(Environment::default())
        .set("broker.url", ground.broker_url())
        .set("results.url", ground.database.url())
        .set("results.retention", RETENTION);
    let client = program.build().expect("a program").client().await.expect("a client");

    let done = CancellationToken::new();
    let sender = Sender::new(client.clone(), &ground.database.url()).await;
    let meter = Meter::new(&ground, &workers, &book).await;
    let begun = Instant::now();
    let length = Duration::from_secs_f64(length * 3_600.0);
    let measure = async {
        let mut figures = Figures::create(&folder.join("figures.csv"));
        let mut beats = tokio::time::interval(EVERY);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while begun.elapsed() < length {
            beats.tick().await;
            figures.add(meter.read(begun.elapsed()).await);
            // After the reading, which would otherwise count this program's connections.
            operate(&ground, folder, figures.len()).await;
        }
        done.cancel();
        figures
    };
    let (figures, sent) = tokio::join!(measure, sender.send(*rate, &done));

    book.settle(END).await;
    let waiting = async || meter.waiting().await;
    eventually_within(END, "no message is left", waiting, |waiting| *waiting == 0.0).await;
    client.close().await;
    for worker in &mut workers {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(PATIENCE).await, 0, "see the logs in {}", folder.display());
    }
    let tally = book.tally().await;
    let verdict = figures.judge();
    println!("{verdict}");
    let hours = begun.elapsed().as_secs_f64() / 3_600.0;
    println!("soak {hours:.2} h at {rate}/s: sent {sent}, {tally}; {}", verdict.line());
    match tally.missing == 0 && tally.doubled == 0 && verdict.is_flat() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Replays some dead letters once a minute, and purges the others.
async fn operate(ground: &Ground, folder: &Path, number: usize) {
    let verb: &[&str] = match number % 2 {
        0 => &["dead", "replay", "--reason", "exhausted", "--newer", "1m", "--limit", "10", "--yes"],
        _ => &["dead", "purge", "--older-than", "1m", "--yes"],
    };
    let code = ground.program(folder, "operator", verb).exit_code(PATIENCE).await;
    assert_eq!(code, 0, "{verb:?}: see operator.log in {}", folder.display());
}
