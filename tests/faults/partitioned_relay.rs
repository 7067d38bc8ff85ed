//! The relay loses its network, wherever it stands, and returns after another has relayed.

use std::time::{Duration, Instant};

use celeriac::prelude::*;
use celeriac_servers::Loss;
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Peer, Program};
use sqlx::{Connection, PgConnection};

use crate::ledger::{is_long, note};
use crate::partition::Ground;
use crate::relay_killed::{KEYS, LEADS, end, run_in_order, said};

/// Longest time until another process relays.
const TAKEN_OVER: Duration = Duration::from_secs(30);

/// Tasks before a partition, during it and after it.
const TASKS: u64 = 40;

/// Tasks of a window that the buffers of a server do not hold, and the bytes of each.
const LARGE: (u64, usize) = (300, 25_000);

/// The links that the relay loses.
struct Cut {
    name: &'static str,
    of_broker: Loss,
    of_database: Loss,
    /// Makes the server answer a large window, which its holder does not receive.
    within_an_answer: bool,
}

const fn cut(name: &'static str, of_broker: Loss, of_database: Loss) -> Cut {
    Cut { name, of_broker, of_database, within_an_answer: false }
}

/// The short form has the first two.
const CUTS: [Cut; 4] = [
    cut("the broker", Loss::Everything, Loss::Nothing),
    Cut {
        within_an_answer: true,
        ..cut("the database, incoming packets only, within an answer", Loss::Nothing, Loss::Incoming)
    },
    cut("the database", Loss::Nothing, Loss::Everything),
    cut("both", Loss::Everything, Loss::Everything),
];

fn cuts() -> impl Iterator<Item = &'static Cut> {
    let (times, cuts) = if is_long() { (10, &CUTS[..]) } else { (1, &CUTS[..2]) };
    std::iter::repeat_n(cuts, times).flatten()
}

/// A sender in transactions, and two relays, of which one is behind links.
struct Outbox<'a> {
    bed: &'a Bed,
    ground: &'a Ground,
    client: Client,
    database: PgConnection,
    written: u64,
}

impl Outbox<'_> {
    /// Writes tasks in one transaction. Cuts the links right before its commit.
    async fn write(&mut self, (count, bytes): (u64, usize), cut: impl FnOnce()) {
        let mut tx = self.database.begin().await.unwrap();
        for number in self.written..self.written + count {
            let call = note(number).ordered_by(format!("key-{}", number % KEYS));
            let call = if bytes > 0 { call.header("padding", "x".repeat(bytes)) } else { call };
            self.client.submit_in(&mut tx, call).await.unwrap();
        }
        cut();
        tx.commit().await.unwrap();
        self.written += count;
    }

    async fn all_are_sent(&mut self) {
        let left = "SELECT waiting FROM celeriac.outbox_lag";
        let left = async || sqlx::query_scalar::<_, i64>(left).fetch_one(&mut self.database).await.unwrap();
        eventually("everything is sent", left, |left| *left == 0).await;
    }

    /// Cuts the links of the relay until the other one has relayed everything.
    async fn survive(&mut self, cut: &Cut, far: &mut Program) {
        far.says(LEADS).await;
        self.write((TASKS, 0), || ()).await;
        self.all_are_sent().await;
        let mut near = self.bed.process_with(&["relay", "-l", "info"], &self.ground.near());
        // It has asked for the lease.
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_try_advisory_lock($1)'
                        AND host(client_addr) = '127.0.0.1'";
        let asked = async || sqlx::query_scalar::<_, i64>(sessions).fetch_one(&mut self.database).await.unwrap();
        eventually("the other relay waits", asked, |asked| *asked > 0).await;

        let (ground, led) = (self.ground, said(far, LEADS));
        let lose = || ground.lose(cut.of_broker, cut.of_database);
        let size = if cut.within_an_answer { LARGE } else { (TASKS, 0) };
        self.write(size, lose).await;
        let begun = Instant::now();
        near.says_within(TAKEN_OVER, LEADS).await;
        let taken_over = begun.elapsed();
        self.all_are_sent().await;

        ground.lose(Loss::Nothing, Loss::Nothing);
        self.write((TASKS, 0), || ()).await;
        self.all_are_sent().await;
        end(near).await;
        let leads = async || said(far, LEADS);
        eventually_within(TAKEN_OVER, "the first relay returns", leads, |leads| *leads > led).await;
        println!("relay partitioned from {}: another relays after {:.1} s", cut.name, taken_over.as_secs_f64());
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn another_process_relays_during_a_partition_and_the_order_of_each_key_is_kept(bed: Bed) {
    let ground = Ground::start().await;
    let program = bed.program([]).set("broker.url", ground.broker.url()).set("results.url", ground.database.url());
    let client = bed.client(program).await;
    let database = PgConnection::connect(&ground.database.url()).await.unwrap();
    let mut outbox = Outbox { bed: &bed, ground: &ground, client, database, written: 0 };
    let mut far = ground.program_behind_links(&["relay", "-l", "info"]);
    for cut in cuts() {
        outbox.survive(cut, &mut far).await;
    }
    end(far).await;
    let peer = Peer::connect(&ground.broker.url()).await;
    let Outbox { client, mut database, written, .. } = outbox;
    let line = run_in_order(&bed, &peer, &mut database, &ground.near(), written).await;
    println!("relay partitioned {}: {line}", cuts().count());
    client.close().await;
}
