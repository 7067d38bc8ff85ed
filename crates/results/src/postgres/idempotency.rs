//! Idempotency keys: a task is sent once for each key. Table `idempotency`.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::pool::PostgresPool;
use crate::error::{Error, Result};

/// A claim on a key, by a caller that wants to send a task under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task name.
    pub task: String,
    /// The key. Another task may have the same key.
    pub key: String,
    /// The id for the task, if this claim is the first.
    pub id: String,
    /// Fingerprint of the arguments.
    pub fingerprint: String,
}

/// The state of a key when it is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// The key was free. The caller sends the task.
    First,
    /// An earlier caller claimed the key and did not finish. This caller sends the task again, with
    /// the first id.
    Unsent(PreviousSubmission),
    /// Another caller is sending the task, and holds the claim.
    Sending(PreviousSubmission),
    /// The task was sent.
    Sent(PreviousSubmission),
}

/// The first submission under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSubmission {
    /// Its task id.
    pub id: String,
    /// Fingerprint of its arguments.
    pub fingerprint: String,
}

/// Takes a key that is free or has expired.
const TAKE: &str = "INSERT INTO celeriac.idempotency AS kept (task, key, id, fingerprint, sent, expires_at)
    VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 second')
    ON CONFLICT (task, key) DO UPDATE SET
        id = excluded.id, fingerprint = excluded.fingerprint, sent = excluded.sent, created_at = clock_timestamp(),
        claimed_at = clock_timestamp(), expires_at = excluded.expires_at
    WHERE kept.expires_at < clock_timestamp()
    RETURNING id";

/// Takes over a key from a caller that did not finish.
const TAKE_OVER: &str = "UPDATE celeriac.idempotency SET claimed_at = clock_timestamp(), sent = $3
    WHERE task = $1 AND key = $2 AND NOT sent AND fingerprint = $4
    AND ($3 OR claimed_at < clock_timestamp() - $5 * interval '1 second')
    RETURNING id, fingerprint";

/// Holds a claim for another [`CLAIM_LEASE`].
const RENEW: &str = "UPDATE celeriac.idempotency SET claimed_at = clock_timestamp()
    WHERE task = $1 AND key = $2 AND id = $3 AND NOT sent";

/// Ends a claim whose task may have been sent or not.
const ABANDON: &str = "UPDATE celeriac.idempotency SET claimed_at = to_timestamp(0)
    WHERE task = $1 AND key = $2 AND id = $3 AND NOT sent";

const LOOK: &str = "SELECT id, fingerprint, sent FROM celeriac.idempotency WHERE task = $1 AND key = $2";
const SENT: &str = "UPDATE celeriac.idempotency SET sent = true WHERE task = $1 AND key = $2 AND id = $3";
const RELEASE: &str = "DELETE FROM celeriac.idempotency WHERE task = $1 AND key = $2 AND id = $3 AND NOT sent";

/// Time after which a claim that is not renewed can be taken over.
pub const CLAIM_LEASE: Duration = Duration::from_secs(10);

/// Deletes expired keys.
pub(super) const SWEEP: &str = "DELETE FROM celeriac.idempotency WHERE (task, key) IN (
    SELECT task, key FROM celeriac.idempotency WHERE expires_at < clock_timestamp()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)";

/// Idempotency keys.
#[derive(Debug)]
pub struct Idempotency {
    connections: PostgresPool,
    keep: Duration,
}

impl Idempotency {
    pub(super) fn new(connections: PostgresPool, keep: Duration) -> Self {
        Self { connections, keep }
    }

    /// Claims a key for a task that is sent directly afterwards.
    ///
    /// After [`KeyState::First`] or [`KeyState::Unsent`] the caller reports the result by
    /// [`Idempotency::sent`], [`Idempotency::abandon`] or [`Idempotency::release`], and until then
    /// calls [`Idempotency::renew`]. After [`CLAIM_LEASE`] without either, another caller may send
    /// the task.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn claim(&self, claim: &Claim) -> Result<KeyState> {
        let mut lease = self.connections.lease().await?;
        let answer = self.connections.within(self.take(&mut lease.connection, claim, false)).await;
        lease.conclude(answer).map_err(|cause| self.error(cause))
    }

    /// Claims a key for a task that is added to the outbox in the same transaction.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn claim_in(&self, transaction: &mut PgConnection, claim: &Claim) -> Result<KeyState> {
        self.take(transaction, claim, true).await.map_err(|cause| self.error(cause))
    }

    /// Holds the claim while the task is being sent.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn renew(&self, claim: &Claim) -> Result<()> {
        self.note(RENEW, claim).await
    }

    /// Records that the task is on a queue.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn sent(&self, claim: &Claim) -> Result<()> {
        self.note(SENT, claim).await
    }

    /// Ends the claim, because it is not known whether the task was sent. The next caller sends it
    /// again, with the same id.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn abandon(&self, claim: &Claim) -> Result<()> {
        self.note(ABANDON, claim).await
    }

    /// Releases the key, because the task was not sent.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn release(&self, claim: &Claim) -> Result<()> {
        self.note(RELEASE, claim).await
    }

    async fn take(&self, connection: &mut PgConnection, claim: &Claim, sent: bool) -> sqlx::Result<KeyState> {
        let Claim { task, key, id, fingerprint } = claim;
        let keep = (!self.keep.is_zero()).then_some(self.keep.as_secs_f64());
        loop {
            let take = sqlx::query(TAKE).bind(task).bind(key).bind(id).bind(fingerprint).bind(sent).bind(keep);
            if take.fetch_optional(&mut *connection).await?.is_some() {
                return Ok(KeyState::First);
            }
            let lease = CLAIM_LEASE.as_secs_f64();
            let over = sqlx::query(TAKE_OVER).bind(task).bind(key).bind(sent).bind(fingerprint).bind(lease);
            if let Some(row) = over.fetch_optional(&mut *connection).await? {
                return Ok(KeyState::Unsent(previous(&row)?));
            }
            // Missing if its owner has just released it.
            if let Some(row) = sqlx::query(LOOK).bind(task).bind(key).fetch_optional(&mut *connection).await? {
                let was_sent: bool = row.try_get(2)?;
                return Ok(if was_sent { KeyState::Sent(previous(&row)?) } else { KeyState::Sending(previous(&row)?) });
            }
        }
    }

    async fn note(&self, statement: &'static str, claim: &Claim) -> Result<()> {
        let mut lease = self.connections.lease().await?;
        let query = sqlx::query(statement).bind(&claim.task).bind(&claim.key).bind(&claim.id);
        let answer = self.connections.within(query.execute(&mut lease.connection)).await;
        lease.conclude(answer).map(drop).map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: sqlx::Error) -> Error {
        self.connections.error("claiming an idempotency key", cause)
    }
}

fn previous(row: &PgRow) -> sqlx::Result<PreviousSubmission> {
    Ok(PreviousSubmission { id: row.try_get(0)?, fingerprint: row.try_get(1)? })
}
