//! The relay lease: the right to relay the outbox, for one process at a time.
//!
//! The lease is a lock of a session, so it ends with the connection of its holder. The holder
//! changes the table only on that connection, so a process that has lost the lock changes nothing.

use std::time::Duration;

use sqlx::postgres::{PgBindIterExt, PgListener};
use sqlx::{Acquire, AssertSqlSafe, Row};
use tokio::time::{Instant, sleep, timeout};

use super::listen::{Listening, lost};
use super::outbox::{self, Lag, OutboxRow, RelayFailure};
use super::pool::PostgresPool;
use super::pooler;
use super::server::{PostgresServer, watching};
use super::time::Time;
use crate::error::{Error, Result};

const CHANNEL: &str = "celeriac_outbox";

const CONNECTING: &str = "connecting to the outbox";

/// Lock of the relay: the bytes of `celerelay`, shortened.
const LOCK: i64 = 0x6365_6c65_7265_6c61;

/// Time between two attempts to take the lock. A statement that waited for the lock would hold back
/// the vacuum of the whole database.
const ASK: Duration = Duration::from_secs(2);

/// Silence after which the server closes the holder's connection, and the time between two
/// statements that prevent it.
const SILENCE: Duration = Duration::from_secs(10);
const BEAT: Duration = Duration::from_secs(3);

/// Time after the last message in which the holder polls the table, often at first and then less
/// often.
const AWAKE: Duration = Duration::from_secs(1);
const LOOK: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));

/// Longest time between two reads of the table without a notification. A sender that wrote while
/// the holder polled, and commits after it stopped polling, sends no notification.
const QUIET: Duration = Duration::from_secs(1);

/// The statements at the start of the session.
///
/// A holder that stops, hangs or loses its network loses the lock within seconds. The setting needs
/// version 14 of the server. A session that the server is answering is not idle: it ends when the
/// server does not reach its holder. The planner uses the indexes of the outbox only: the
/// statistics of a table that fills and empties are never right, and a plan that sorts a million
/// rows to return the first thousand takes seconds.
const SESSION: &str = "SELECT set_config('idle_session_timeout', '10s', false)
     WHERE current_setting('server_version_num')::int >= 140000;
     SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off;
     SET enable_hashjoin = off; SET enable_mergejoin = off";

const DUE: &str = "SELECT * FROM celeriac.outbox AS due WHERE {} AND NOT EXISTS (
        SELECT FROM celeriac.outbox AS earlier
        WHERE earlier.order_key = due.order_key AND earlier.next_at IS NOT NULL AND earlier.seq < due.seq
    )";

/// The outbox of a store.
#[derive(Debug, Clone)]
pub struct Outbox {
    server: PostgresServer,
    connections: PostgresPool,
    window: String,
}

/// The right to relay the outbox. After any error the lock may be lost: drop the lease and acquire
/// a new one.
#[derive(Debug)]
pub struct RelayLease {
    listener: PgListener,
    listening: Listening,
    window: String,
    /// Time of the server's last answer.
    heard: Instant,
    /// True if the holder polls, so that senders need not notify.
    awake: bool,
    /// Time at which a message was last found.
    found_at: Instant,
}

impl Outbox {
    pub(super) fn new(server: PostgresServer, connections: PostgresPool) -> Self {
        let (fresh, failing) =
            (DUE.replace("{}", "next_at IS NULL"), DUE.replace("{}", "next_at <= clock_timestamp()"));
        let columns = outbox::COLUMNS;
        // A window ends when it has enough bytes. It always has the first message.
        let window = format!(
            "SELECT {columns} FROM (
                SELECT *, sum(size) OVER (ORDER BY seq) - size AS before
                FROM ((({fresh}) ORDER BY seq LIMIT $1) UNION ALL (({failing}) ORDER BY next_at LIMIT $1)) AS due,
                LATERAL (SELECT octet_length(body) + coalesce(octet_length(call::text), 0)) AS sized (size)
             ) AS due WHERE before < $2 ORDER BY seq"
        );
        Self { server, connections, window }
    }

    /// Waits for the relay lease while another process holds it.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn acquire_lease(&self) -> Result<RelayLease> {
        let mut listening = Listening::new(self.server.clone());
        let connected = listening.open().await;
        let mut listener = connected.map_err(|cause| self.error(CONNECTING, cause))?;
        self.refuse_pooler(&mut listener).await?;
        let now = Instant::now();
        let mut lease =
            RelayLease { listener, listening, window: self.window.clone(), heard: now, awake: false, found_at: now };
        let session = format!("{}; {SESSION}", watching(SILENCE));
        lease.run(sqlx::raw_sql(AssertSqlSafe(session))).await?;
        while !lease.try_lock(LOCK).await? {
            sleep(ASK).await;
        }
        let listened = self.server.within(lease.listener.listen(CHANNEL)).await;
        listened.map_err(|cause| self.error("listening for the outbox", cause))?;
        Ok(lease)
    }

    /// Refuses a connection whose session of the server can change. The lock would stay with a
    /// session that others use, so two relays could hold it.
    async fn refuse_pooler(&self, listener: &mut PgListener) -> Result<()> {
        let mut other = self.connections.lease().await?;
        let is_pooled = async { pooler::share_sessions(listener.acquire().await?, &mut other.connection).await };
        let is_pooled = self.server.within(is_pooled).await;
        match other.conclude(is_pooled).map_err(|cause| self.error(CONNECTING, cause))? {
            true => Err(Error::Pooled { doing: CONNECTING, url: self.server.url().to_owned() }),
            false => Ok(()),
        }
    }

    /// Returns the length of the outbox, and its age.
    ///
    /// # Errors
    /// Returns an error if the database cannot be reached, or if it refuses.
    pub async fn lag(&self) -> Result<Lag> {
        const LAG: &str = "SELECT waiting, failing, oldest_at, EXISTS (
                SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
                AND (classid::bigint << 32) | objid::bigint = $1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ) FROM celeriac.outbox_lag";
        let failed = |cause| self.error("looking at the outbox", cause);
        let mut lease = self.connections.lease().await?;
        let query = sqlx::query(LAG).bind(LOCK).fetch_one(&mut lease.connection);
        let answer = self.connections.within(query).await;
        let row = lease.conclude(answer).map_err(failed)?;
        let count = |column| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or_default());
        let oldest_at = row.try_get::<Option<Time>, _>(2).map(|time| time.map(|Time(time)| time));
        Ok(Lag {
            waiting: count(0).map_err(failed)?,
            failing: count(1).map_err(failed)?,
            oldest_at: oldest_at.map_err(failed)?,
            led: row.try_get(3).map_err(failed)?,
        })
    }

    fn error(&self, doing: &'static str, cause: sqlx::Error) -> Error {
        self.server.error(doing, cause)
    }
}

impl RelayLease {
    /// Returns the next messages in order, limited by rows and bytes.
    ///
    /// # Errors
    /// Returns an error if the lock may be lost.
    pub async fn window(&mut self, rows: u32, bytes: u64) -> Result<Vec<OutboxRow>> {
        // The query below sees the rows of all buffered notifications. Under load no other code
        // would remove them.
        while self.listener.next_buffered().is_some() {}
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let query = AssertSqlSafe(self.window.clone());
        let query = sqlx::query(query).bind(i64::from(rows)).bind(bytes);
        let found = async {
            let rows = query.fetch_all(self.listener.acquire().await?).await?;
            rows.iter().map(outbox::read).collect::<sqlx::Result<Vec<_>>>()
        };
        let found = self.listening.within(found).await;
        let found = self.answered("reading the outbox", found)?;
        if !found.is_empty() {
            self.found_at = Instant::now();
            // A sender may be testing this lock at the same moment. Then the next window takes it.
            self.awake = self.awake || self.try_lock(outbox::AWAKE).await?;
        }
        Ok(found)
    }

    /// Deletes sent messages, and records the reasons of the others.
    ///
    /// # Errors
    /// Returns an error if the lock may be lost. The sent messages may be sent again then.
    pub async fn conclude(&mut self, sent: &[i64], unsent: &[RelayFailure]) -> Result<()> {
        const SENT: &str = "DELETE FROM celeriac.outbox WHERE seq = ANY($1)";
        const UNSENT: &str = "UPDATE celeriac.outbox AS kept
            SET attempts = attempts + 1, error = why, next_at = clock_timestamp() + wait * interval '1 second'
            FROM unnest($1::bigint[], $2::text[], $3::double precision[]) AS unsent (seq, why, wait)
            WHERE kept.seq = unsent.seq";
        let concluded = async {
            let connection = self.listener.acquire().await?;
            if !sent.is_empty() {
                sqlx::query(SENT).bind(sent).execute(&mut *connection).await?;
            }
            if !unsent.is_empty() {
                let query = sqlx::query(UNSENT)
                    .bind(unsent.iter().map(|unsent| unsent.seq).bind_iter())
                    .bind(unsent.iter().map(|unsent| unsent.error.as_str()).bind_iter())
                    .bind(unsent.iter().map(|unsent| unsent.wait.as_secs_f64()).bind_iter());
                query.execute(connection).await?;
            }
            Ok(())
        };
        let concluded = self.listening.within(concluded).await;
        self.answered("deleting what was sent", concluded)
    }

    /// Returns when there may be new messages, and at intervals.
    ///
    /// # Errors
    /// Returns an error if the lock may be lost.
    pub async fn news(&mut self) -> Result<()> {
        if self.awake {
            let idle = self.found_at.elapsed();
            if idle < AWAKE {
                sleep((idle / 4).clamp(LOOK.0, LOOK.1)).await;
            } else {
                // The query below sees everything that was committed before this unlock.
                self.unlock(outbox::AWAKE).await?;
                self.awake = false;
            }
            return Ok(());
        }
        match timeout(QUIET, self.listener.try_recv()).await {
            Ok(Ok(Some(_))) | Err(_) => Ok(()),
            Ok(Ok(None)) => self.answered("listening for the outbox", Err(lost("the server ended the connection"))),
            Ok(Err(cause)) => self.answered("listening for the outbox", Err(cause)),
        }
    }

    /// Shows the server that the holder is alive.
    ///
    /// # Errors
    /// Returns an error if the lock may be lost.
    pub async fn beat(&mut self) -> Result<()> {
        self.run(sqlx::raw_sql("SELECT 1")).await
    }

    /// Returns the time between two [beats](Self::beat) while there are no other statements.
    pub fn beats(&self) -> Duration {
        BEAT
    }

    /// Returns the time until which the lock is certainly held, without further statements.
    pub fn held_until(&self) -> Instant {
        self.heard + SILENCE / 2
    }

    /// Releases the lease at once and in order.
    pub async fn end(mut self) {
        // If that fails, the connection is closed below, which releases the lock too.
        let _ = timeout(Duration::from_secs(1), self.unlock(LOCK)).await;
    }

    async fn unlock(&mut self, lock: i64) -> Result<()> {
        let query = sqlx::query("SELECT pg_advisory_unlock($1)").bind(lock);
        let unlocked = async { query.execute(self.listener.acquire().await?).await.map(drop) };
        let unlocked = self.listening.within(unlocked).await;
        self.answered("giving up a lock of the outbox", unlocked)
    }

    async fn try_lock(&mut self, lock: i64) -> Result<bool> {
        let query = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(lock);
        let locked = async { query.fetch_one(self.listener.acquire().await?).await };
        let locked = self.listening.within(locked).await;
        self.answered("asking for the outbox", locked)
    }

    async fn run(&mut self, statements: sqlx::RawSql) -> Result<()> {
        let ran = async { statements.execute(self.listener.acquire().await?).await.map(drop) };
        let ran = self.listening.within(ran).await;
        self.answered("asking for the outbox", ran)
    }

    fn answered<T>(&mut self, doing: &'static str, answer: sqlx::Result<T>) -> Result<T> {
        match answer {
            Ok(answer) => {
                self.heard = Instant::now();
                Ok(answer)
            }
            Err(cause) => Err(self.listening.server().error(doing, cause)),
        }
    }
}
