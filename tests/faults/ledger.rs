//! The tasks that this process submitted, and their confirms.

use std::collections::HashSet;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac::{Call, Client};
use celeriac_protocol::Task;
use celeriac_tests::{Bed, Book, Effects};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Returns `true` if the long tests are requested.
pub(crate) fn is_long() -> bool {
    celeriac_config::Environment::from_process().get("CELERIAC_FAULTS") == Some("long")
}

/// The task whose runs are counted. Returns its number.
#[task(name = "test.note")]
pub(crate) async fn note(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// The time of a send, and of its confirm.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) confirmed: Instant,
}

async fn send<T: Task>(client: &Client, call: Call<T>) -> celeriac_client::Result<(String, Sent)>
where
    T::Args: Sync,
{
    let at = Instant::now();
    let handle = call.submit(client).await?;
    Ok((handle.id().to_owned(), Sent { at, confirmed: Instant::now() }))
}

/// Ids that were confirmed to the sender.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    issued: HashSet<String>,
    /// Number of sends that failed, or of which it is unknown if they are on a queue. They are not
    /// counted as confirmed.
    pub(crate) unconfirmed: usize,
    /// Error of the last of them, if it is known.
    pub(crate) trouble: Option<String>,
}

impl Ledger {
    /// Submits this many notes. Confirmed ones enter the ledger.
    pub(crate) async fn issue(&mut self, client: &Client, count: u64) {
        self.issue_each(client, (0..count).map(note)).await;
    }

    /// Submits these calls. Confirmed ones enter the ledger.
    pub(crate) async fn issue_each<T: Task>(&mut self, client: &Client, calls: impl Iterator<Item = Call<T>> + Send)
    where
        T::Output: Send,
        T::Args: Sync,
    {
        let mut submitted = std::pin::pin!(client.submit_stream(calls));
        while let Some(handle) = submitted.next().await {
            match handle {
                Ok(handle) => drop(self.issued.insert(handle.id().to_owned())),
                Err(error) => {
                    self.unconfirmed += 1;
                    self.trouble = Some(celeriac_telemetry::ErrorChain(&error).to_string());
                }
            }
        }
    }

    /// Submits notes at a steady rate until `done`, however long each of them waits, and then waits
    /// for the last. Returns the times of sending and confirm for each on the ledger.
    pub(crate) async fn issue_steadily(
        &mut self,
        client: &Client,
        a_second: u64,
        done: &CancellationToken,
    ) -> Vec<Sent> {
        self.issue_each_steadily(client, a_second, done, note).await
    }

    /// Does the same with other calls, each made of a number.
    pub(crate) async fn issue_each_steadily<T: Task>(
        &mut self,
        client: &Client,
        a_second: u64,
        done: &CancellationToken,
        call: impl Fn(u64) -> Call<T>,
    ) -> Vec<Sent>
    where
        T::Args: Sync,
    {
        const BEATS_A_SECOND: u64 = 20;
        let mut beat = tokio::time::interval(Duration::from_secs(1) / u32::try_from(BEATS_A_SECOND).unwrap());
        let mut in_the_air = FuturesUnordered::new();
        let mut sent = Vec::new();
        loop {
            tokio::select! {
                _ = beat.tick(), if !done.is_cancelled() => {
                    in_the_air.extend((0..a_second / BEATS_A_SECOND).map(|number| send(client, call(number))));
                }
                Some(landed) = in_the_air.next() => match landed {
                    Ok((id, times)) => {
                        self.issued.insert(id);
                        sent.push(times);
                    }
                    Err(error) => {
                        self.unconfirmed += 1;
                        self.trouble = Some(celeriac_telemetry::ErrorChain(&error).to_string());
                    }
                },
                else => return sent,
            }
        }
    }

    pub(crate) fn issued(&self) -> usize {
        self.issued.len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.issued.iter().cloned().collect()
    }

    /// Waits until every id on the ledger has its row, and checks that it is a single success.
    /// Returns the number of successes.
    pub(crate) async fn settle(&self, bed: &Bed, patience: Duration) -> usize {
        let book = Book::open(&bed.database_url(), Effects::Recorded).await;
        book.issue(&self.ids()).await;
        book.settle(patience).await;
        let tally = book.tally().await;
        assert_eq!((tally.missing, tally.doubled), (0, 0), "{tally}");
        usize::try_from(tally.effected).unwrap()
    }
}
