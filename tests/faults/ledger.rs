//! What was issued against what was recorded.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Call, Client};
use celeriac_protocol::Task;
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually_within;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use sqlx::PgConnection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Whether the long forms were asked for.
pub(crate) fn is_long() -> bool {
    celeriac_config::Environment::from_process().get("CELERIAC_FAULTS") == Some("long")
}

/// The task whose runs are counted: its own number is its result.
#[task(name = "test.note")]
pub(crate) async fn note(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// When a task was sent, and when that was confirmed.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) confirmed: Instant,
}

async fn send(client: &Client, number: u64) -> celeriac_client::Result<(String, Sent)> {
    let at = Instant::now();
    let handle = note(number).submit(client).await?;
    Ok((handle.id().to_owned(), Sent { at, confirmed: Instant::now() }))
}

/// Ids that were confirmed to the sender.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    issued: HashSet<String>,
    /// Sends of which it cannot be known whether they stand on a queue, or that failed: they are no promise.
    pub(crate) unconfirmed: usize,
    /// Why the last of them is not confirmed, where that is known.
    pub(crate) trouble: Option<String>,
}

impl Ledger {
    /// Submits so many notes; each that is confirmed is on the ledger.
    pub(crate) async fn issue(&mut self, client: &Client, count: u64) {
        self.issue_each(client, (0..count).map(note)).await;
    }

    /// Submits these; each that is confirmed is on the ledger.
    pub(crate) async fn issue_each<T: Task>(&mut self, client: &Client, calls: impl Iterator<Item = Call<T>> + Send)
    where
        T::Output: Send,
        T::Args: Sync,
    {
        let mut submitted = std::pin::pin!(client.submit_each(calls));
        while let Some(handle) = submitted.next().await {
            match handle {
                Ok(handle) => drop(self.issued.insert(handle.id().to_owned())),
                Err(_) => self.unconfirmed += 1,
            }
        }
    }

    /// Submits notes at a steady rate until `done`, however long each of them waits, and then waits for the last. Tells
    /// when each that is on the ledger was sent and confirmed.
    pub(crate) async fn issue_steadily(
        &mut self,
        client: &Client,
        a_second: u64,
        done: &CancellationToken,
    ) -> Vec<Sent> {
        const BEATS_A_SECOND: u64 = 20;
        let mut beat = tokio::time::interval(Duration::from_secs(1) / u32::try_from(BEATS_A_SECOND).unwrap());
        let mut in_the_air = FuturesUnordered::new();
        let mut sent = Vec::new();
        loop {
            tokio::select! {
                _ = beat.tick(), if !done.is_cancelled() => {
                    in_the_air.extend((0..a_second / BEATS_A_SECOND).map(|number| send(client, number)));
                }
                Some(landed) = in_the_air.next() => match landed {
                    Ok((id, times)) => {
                        self.issued.insert(id);
                        sent.push(times);
                    }
                    Err(error) => {
                        self.unconfirmed += 1;
                        self.trouble = Some(celeriac_telemetry::Chain(&error).to_string());
                    }
                },
                else => return sent,
            }
        }
    }

    pub(crate) fn issued(&self) -> usize {
        self.issued.len()
    }

    /// Waits until every id on the ledger has its row, and checks that it is the only one, and a success.
    pub(crate) async fn settle(&self, bed: &Bed, patience: Duration) -> usize {
        let mut database = bed.database().await;
        eventually_within(
            patience,
            "every confirmed task has a row",
            async || self.missing(&mut database).await,
            |missing| *missing == 0,
        )
        .await;
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT id, min(state), count(*) FROM celeriac.tasks GROUP BY id")
                .fetch_all(&mut database)
                .await
                .unwrap();
        let rows: HashMap<_, _> = rows.into_iter().map(|(id, state, count)| (id, (state, count))).collect();
        for id in &self.issued {
            assert_eq!(rows.get(id), Some(&("SUCCESS".to_owned(), 1)), "task {id}");
        }
        rows.len()
    }

    async fn missing(&self, database: &mut PgConnection) -> i64 {
        let issued: Vec<&str> = self.issued.iter().map(String::as_str).collect();
        sqlx::query_scalar(
            "SELECT count(*) FROM UNNEST($1::text[]) AS issued (id) WHERE NOT EXISTS (
                 SELECT FROM celeriac.tasks WHERE tasks.id = issued.id AND state = 'SUCCESS')",
        )
        .bind(issued)
        .fetch_one(database)
        .await
        .unwrap()
    }
}
