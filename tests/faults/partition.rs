//! A worker in a network namespace of its own loses packets from its servers, or to them, or both.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac_servers::{Durability, Link, Loss, NetworkNamespace, PostgresNode, PostgresSpec, RabbitNode, RabbitSpec};
use celeriac_tests::program::path;
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Book, Effects, Peer, Program};
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::in_turn::blocking;
use crate::ledger::is_long;

/// Port of the broker on its link. Nobody else listens on that address.
const PORT: u16 = 5_672;

/// Longest time until the worker and its servers have noticed a partition, with the settings below.
const NOTICED: Duration = Duration::from_secs(20);

#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

/// Servers, and a namespace with a link to each of them.
pub(crate) struct Ground {
    namespace: NetworkNamespace,
    pub(crate) to_broker: Link,
    pub(crate) to_database: Link,
    pub(crate) broker: RabbitNode,
    pub(crate) database: PostgresNode,
}

impl Ground {
    pub(crate) async fn start() -> Self {
        let ground = blocking(|| {
            let namespace = NetworkNamespace::create().unwrap();
            let (to_broker, to_database) = (namespace.link().unwrap(), namespace.link().unwrap());
            let config = vec![format!("listeners.tcp.link = {}:{PORT}", to_broker.here())];
            let broker = RabbitSpec { plugins: Vec::new(), config, ..RabbitSpec::default() }.start().unwrap();
            let settings = vec![format!("listen_addresses=127.0.0.1,{}", to_database.here())];
            let spec = PostgresSpec { durability: Durability::Real, settings, ..PostgresSpec::default() };
            let database = spec.start().unwrap();
            admit(&database, &to_database);
            Self { namespace, to_broker, to_database, broker, database }
        });
        let ground = ground.await;
        let admitted = async || PgConnection::connect(&ground.far_database()).await.is_ok();
        eventually("the database admits the namespace", admitted, |admitted| *admitted).await;
        ground
    }

    /// Returns the URL of the database on the link.
    fn far_database(&self) -> String {
        let (here, port) = (self.to_database.here(), self.database.port());
        format!("postgres://postgres@{here}:{port}/postgres?sslmode=require")
    }

    /// Returns the variables of a program on this machine.
    pub(crate) fn near(&self) -> Vec<(&'static str, String)> {
        vec![("CELERIAC__BROKER__URL", self.broker.url()), ("CELERIAC__RESULTS__URL", self.database.url())]
    }

    /// Starts the test program in the namespace.
    pub(crate) fn program_behind_links(&self, arguments: &[&str]) -> Program {
        let variables = [
            ("CELERIAC__BROKER__URL", format!("amqp://guest:guest@{}:{PORT}/%2f", self.to_broker.here())),
            ("CELERIAC__BROKER__HEARTBEAT", "1s".to_owned()),
            ("CELERIAC__BROKER__CONNECT_TIMEOUT", "2s".to_owned()),
            ("CELERIAC__BROKER__PUBLISH_TIMEOUT", "3s".to_owned()),
            ("CELERIAC__RESULTS__URL", self.far_database()),
            ("CELERIAC__RESULTS__TCP_USER_TIMEOUT", "2s".to_owned()),
            ("CELERIAC__RESULTS__CONNECT_TIMEOUT", "2s".to_owned()),
        ];
        let [program, namespace, end] = self.namespace.enter().unwrap();
        let path = path();
        let words: Vec<_> = [namespace.as_str(), &end, &path].into_iter().chain(arguments.iter().copied()).collect();
        Program::start_other(&program, &words, &variables)
    }

    pub(crate) fn lose(&self, of_broker: Loss, of_database: Loss) {
        self.to_broker.lose(of_broker).unwrap();
        self.to_database.lose(of_database).unwrap();
    }

    /// Returns the number of sessions that the database has with the namespace.
    pub(crate) async fn far_sessions(&self, database: &mut PgConnection) -> i64 {
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE host(client_addr) = $1";
        let there = self.to_database.there().to_string();
        sqlx::query_scalar(sessions).bind(there).fetch_one(database).await.unwrap()
    }
}

/// Lets the other end of a link connect.
fn admit(database: &PostgresNode, link: &Link) {
    let rules = database.folder().join("data/pg_hba.conf");
    let mut rules = OpenOptions::new().append(true).open(rules).unwrap();
    writeln!(rules, "host all all {}/30 trust", link.here()).unwrap();
    database.sql("SELECT pg_reload_conf()").unwrap();
}

/// A partition.
struct Cut {
    name: &'static str,
    of_broker: Loss,
    of_database: Loss,
}

const fn cut(name: &'static str, of_broker: Loss, of_database: Loss) -> Cut {
    Cut { name, of_broker, of_database }
}

/// The short form has the first two.
const CUTS: [Cut; 5] = [
    cut("both", Loss::Everything, Loss::Everything),
    cut("both, incoming packets only", Loss::Incoming, Loss::Incoming),
    cut("both, outgoing packets only", Loss::Outgoing, Loss::Outgoing),
    cut("broker", Loss::Everything, Loss::Nothing),
    cut("database", Loss::Nothing, Loss::Everything),
];

fn cuts() -> impl Iterator<Item = &'static Cut> {
    let (times, cuts) = if is_long() { (10, &CUTS[..]) } else { (1, &CUTS[..2]) };
    std::iter::repeat_n(cuts, times).flatten()
}

/// Log lines of a worker that has noticed.
const LOST: [&str; 2] = ["connection lost", "result store lost"];

/// Two workers, one of them behind links.
struct Partitioned<'a> {
    ground: &'a Ground,
    lone: Program,
    peer: Peer,
    database: PgConnection,
}

impl Partitioned<'_> {
    /// Cuts the links until everybody has noticed and the other worker has gone on, and prints the
    /// times.
    async fn survive(&mut self, cut: &Cut) {
        let before = LOST.map(|line| self.said(line));
        let [_, at_other] = self.successes().await;
        let begun = Instant::now();
        self.ground.lose(cut.of_broker, cut.of_database);
        let mut noticed = Vec::new();
        for (number, loss) in [cut.of_broker, cut.of_database].into_iter().enumerate() {
            if loss != Loss::Nothing {
                let said = async || self.said(LOST[number]);
                eventually_within(NOTICED, LOST[number], said, |said| *said > before[number]).await;
                noticed.push(format!("{} after {:.1} s", ["broker lost", "database lost"][number], seconds(begun)));
            }
        }
        if cut.of_broker != Loss::Nothing {
            let consumers = async || self.peer.consumers("celeriac").await;
            eventually_within(NOTICED, "the broker has noticed", consumers, |count| *count == Some(1)).await;
            noticed.push(format!("worker lost by the broker after {:.1} s", seconds(begun)));
        }
        if cut.of_database != Loss::Nothing {
            let Self { ground, database, .. } = self;
            let sessions = async || ground.far_sessions(database).await;
            eventually_within(NOTICED, "the database has noticed", sessions, |count| *count == 0).await;
            noticed.push(format!("by the database after {:.1} s", seconds(begun)));
        }
        self.worked([0, at_other + 100]).await;

        let [at_lone, _] = self.successes().await;
        let ended = Instant::now();
        self.ground.lose(Loss::Nothing, Loss::Nothing);
        self.worked([at_lone + 50, 0]).await;
        println!("partition, {}: {}; back at work {:.1} s after its end", cut.name, noticed.join(", "), seconds(ended));
    }

    fn said(&self, line: &str) -> usize {
        self.lone.output().matches(line).count()
    }

    /// Returns the number of successes of the lone worker, and of the other.
    async fn successes(&mut self) -> [i64; 2] {
        let successes = "SELECT count(*) FILTER (WHERE worker = 'lone'), count(*) FILTER (WHERE worker = 'other')
                         FROM celeriac.tasks WHERE state = 'SUCCESS'";
        let (lone, other) = sqlx::query_as(successes).fetch_one(&mut self.database).await.unwrap();
        [lone, other]
    }

    /// Waits until both workers have at least this many successes.
    async fn worked(&mut self, [lone, other]: [i64; 2]) {
        let enough = |found: &[i64; 2]| found[0] >= lone && found[1] >= other;
        eventually("work goes on", async || self.successes().await, enough).await;
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_partitioned_worker_hinders_nobody_and_the_ledger_is_exact(bed: Bed) {
    let ground = Ground::start().await;
    let book = Book::open(&ground.database.url(), Effects::Written).await;
    let program = bed.program([]).set("broker.url", ground.broker.url()).set("results.url", ground.database.url());
    let client = bed.client(program).await;
    let arguments = |name| ["worker", "-l", "info", "-n", name, "-c", "8", "--prefetch", "16"];
    let mut lone = ground.program_behind_links(&arguments("lone"));
    let mut other = bed.process_with(&arguments("other"), &ground.near());
    lone.says("worker ready").await;
    other.says("worker ready").await;
    let peer = Peer::connect(&ground.broker.url()).await;
    let database = PgConnection::connect(&ground.database.url()).await.unwrap();
    let mut partitioned = Partitioned { ground: &ground, lone, peer, database };

    let done = CancellationToken::new();
    let sending = async {
        let mut beats = tokio::time::interval(Duration::from_millis(200));
        while done.run_until_cancelled(beats.tick()).await.is_some() {
            let sent = client.submit_many((0..20).map(|_| effect_exactly(20))).await;
            let ids: Vec<_> = sent.into_iter().map(|sent| sent.unwrap().id().to_owned()).collect();
            book.issue(&ids).await;
        }
    };
    let cutting = async {
        partitioned.worked([50, 50]).await;
        for cut in cuts() {
            partitioned.survive(cut).await;
        }
        done.cancel();
    };
    tokio::join!(sending, cutting);
    book.settle(Duration::from_secs(60)).await;
    let Partitioned { mut lone, peer, .. } = partitioned;
    for worker in [&mut lone, &mut other] {
        worker.signal("TERM");
        assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    }
    let tally = book.tally().await;
    println!("partitions {}: {tally}", cuts().count());
    assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
    assert_eq!([peer.ready("celeriac").await, peer.ready("celeriac.dead").await], [0, 0]);
    client.close().await;
}
