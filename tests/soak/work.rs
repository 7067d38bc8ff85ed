//! The sender of mixed work.

use std::time::Duration;

use celeriac::Chain;
use celeriac::prelude::*;
use celeriac_tests::Book;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio_util::sync::CancellationToken;

/// Groups of tasks in a second.
const BEATS: u32 = 5;

/// Kinds of work.
const KINDS: u64 = 12;

/// Slow tasks at the start, which make every worker open all its connections.
const BURST: u64 = 400;

/// Longest time that a caller waits for its result.
const AWAITED: Duration = Duration::from_secs(60);

#[task(name = "test.effect_exactly")]
async fn effect_exactly(milliseconds: u64);

#[task(name = "test.note")]
async fn note(number: u64) -> u64;

#[task(name = "test.fail")]
async fn fail(number: u64);

#[task(name = "test.fail_when")]
async fn fail_when(path: String, rejected: bool);

#[task(name = "rust.flaky")]
async fn flaky(times: u32, countdown: u64) -> u32;

#[task(name = "rust.exhausted")]
async fn exhausted(countdown: u64);

/// Sends work of every kind at a steady rate.
pub(crate) struct Sender {
    client: Client,
    database: PgPool,
}

impl Sender {
    pub(crate) async fn new(client: Client, database: &str) -> Self {
        // A fixed number, because the sessions are counted.
        let options = PgPoolOptions::new().max_connections(4).min_connections(4).idle_timeout(None).max_lifetime(None);
        Self { client, database: options.connect(database).await.expect("the sender's database") }
    }

    /// Sends until `done`, and waits for what it awaits. Returns the number of sent tasks.
    pub(crate) async fn send(&self, a_second: u32, done: &CancellationToken) -> u64 {
        let mut beats = tokio::time::interval(Duration::from_secs(1) / BEATS);
        beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut number, mut in_the_air) = (0, FuturesUnordered::new());
        for sent in self.client.submit_many((0..BURST).map(|_| effect_exactly(500))).await {
            sent.expect("nothing is killed, so each task is sent");
        }
        loop {
            tokio::select! {
                _ = beats.tick(), if !done.is_cancelled() => {
                    let group = u64::from((a_second / BEATS).max(1));
                    in_the_air.extend((number..number + group).map(|number| self.send_one(number)));
                    number += group;
                }
                Some(sent) = in_the_air.next() => sent.expect("nothing is killed, so each task is sent"),
                else => return number,
            }
        }
    }

    async fn send_one(&self, number: u64) -> anyhow::Result<()> {
        let client = &self.client;
        match number % KINDS {
            0 | 1 => {
                let handle = effect_exactly(5).submit(client).await?;
                let mut database = self.database.acquire().await?;
                Book::issue_in(&mut database, &[handle.id().to_owned()]).await?;
            }
            2 | 3 => {
                let mut transaction = self.database.begin().await?;
                let call = effect_exactly(5).ordered_by(format!("key-{}", number % 100));
                let handle = client.submit_in(&mut transaction, call).await?;
                Book::issue_in(&mut transaction, &[handle.id().to_owned()]).await?;
                transaction.commit().await?;
            }
            4 => drop(note(number).idempotency_key(number.to_string()).submit(client).await?),
            5 => drop(note(number).delay(Duration::from_secs(number % 30)).submit(client).await?),
            6 => drop(flaky(1, number % 3).submit(client).await?),
            7 => {
                let step = || Signature::new("test.after");
                let chain = Chain::new(note(number).signature()?).then(step()).then(step()).link(step());
                drop(chain.submit(client).await?);
            }
            8 => drop(exhausted(0).submit(client).await?),
            9 => match number % 8 {
                1 => drop(fail_when("/".to_owned(), true).submit(client).await?),
                _ => drop(fail(number).submit(client).await?),
            },
            10 => {
                let handle = note(number).delay(Duration::from_secs(10)).submit(client).await?;
                handle.revoke().await?;
            }
            _ => {
                let result = note(number).submit(client).await?.get_timeout(AWAITED).await?;
                anyhow::ensure!(result == number, "{number} returned {result}");
            }
        }
        Ok(())
    }
}
