//! Keys under which a task is sent once, however often that is asked for: table `idempotency`.

use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::pool::PostgresPool;
use crate::error::{Error, Result};

/// A claim on a key, by one who wants to send a task under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Task name.
    pub task: String,
    /// The key, which is the task's own: another task may have the same.
    pub key: String,
    /// The id that the task will have, if this is the first to want it.
    pub id: String,
    /// Of the arguments.
    pub fingerprint: String,
}

/// The state of a key when it is claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// Nothing stood there: it is for the caller to send the task.
    First,
    /// Somebody set out to send it and did not come back: it is for the caller to send it once more, with the first id.
    Unsent(PreviousSubmission),
    /// Somebody is about to send it.
    Sending(PreviousSubmission),
    /// It was sent.
    Sent(PreviousSubmission),
}

/// The submission that was the first under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSubmission {
    /// Its task id.
    pub id: String,
    /// Of its arguments.
    pub fingerprint: String,
}

/// Takes a key that nobody has, or whose time is over.
const TAKE: &str = "INSERT INTO celeriac.idempotency AS kept (task, key, id, fingerprint, sent, expires_at)
    VALUES ($1, $2, $3, $4, $5, clock_timestamp() + $6 * interval '1 second')
    ON CONFLICT (task, key) DO UPDATE SET
        id = excluded.id, fingerprint = excluded.fingerprint, sent = excluded.sent, created_at = clock_timestamp(),
        claimed_at = clock_timestamp(), expires_at = excluded.expires_at
    WHERE kept.expires_at < clock_timestamp()
    RETURNING id";

/// Takes a key over from one who set out to send the task and did not come back.
const TAKE_OVER: &str = "UPDATE celeriac.idempotency SET claimed_at = clock_timestamp(), sent = $3
    WHERE task = $1 AND key = $2 AND NOT sent AND fingerprint = $4
    AND ($3 OR claimed_at < clock_timestamp() - interval '10 seconds')
    RETURNING id, fingerprint";

const LOOK: &str = "SELECT id, fingerprint, sent FROM celeriac.idempotency WHERE task = $1 AND key = $2";
const SENT: &str = "UPDATE celeriac.idempotency SET sent = true WHERE task = $1 AND key = $2 AND id = $3";
const RELEASE: &str = "DELETE FROM celeriac.idempotency WHERE task = $1 AND key = $2 AND id = $3 AND NOT sent";

/// Deletes keys whose time is over.
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

    /// Claims a key for a task that is sent right after. Whoever gets [`KeyState::First`] or [`KeyState::Unsent`] tells what
    /// became of it by [`Idempotency::sent`] or [`Idempotency::release`]; after ten seconds of silence the next may send.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn claim(&self, claim: &Claim) -> Result<KeyState> {
        let mut lease = self.connections.lease().await?;
        let answer = self.connections.within(self.take(&mut lease.connection, claim, false)).await;
        lease.conclude(answer).map_err(|cause| self.error(cause))
    }

    /// Claims a key for a task that is put into the outbox in the same transaction.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn claim_in(&self, transaction: &mut PgConnection, claim: &Claim) -> Result<KeyState> {
        self.take(transaction, claim, true).await.map_err(|cause| self.error(cause))
    }

    /// Notes that the task stands on a queue.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
    pub async fn sent(&self, claim: &Claim) -> Result<()> {
        self.note(SENT, claim).await
    }

    /// Gives the key free, since the task was not sent.
    ///
    /// # Errors
    /// When the database cannot be reached, or refuses.
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
            let over = sqlx::query(TAKE_OVER).bind(task).bind(key).bind(sent).bind(fingerprint);
            if let Some(row) = over.fetch_optional(&mut *connection).await? {
                return Ok(KeyState::Unsent(previous(&row)?));
            }
            // Gone when the one who had it has just given it free.
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
