//! Stores for the outcomes of tasks.
//!
//! In reading order:
//!
//! - [`record`]: the row of a task;
//! - [`outcomes`], [`revocations`], [`crash_log`], [`run_log`], [`audit`], [`joins`]: the parts of
//!   a store, one contract each;
//! - [`backend`]: all contracts together, and the store that the options select;
//! - [`clock`]: the clock by which programs on a store decide;
//! - [`postgres`]: with transactions, an [`outbox`] and [`idempotency`] keys, which no other store
//!   has;
//! - `sqlite`, behind the feature of that name: for programs without a server;
//! - [`recorder`]: writes many outcomes at once, and runs the sweep of old rows;
//! - [`sent`]: writes the rows of sent tasks;
//! - [`cookbook`]: queries for people;
//! - `conformance`, behind the feature of that name: the suite that every store passes.

pub mod record;

pub mod audit;
pub mod crash_log;
pub mod joins;
pub mod outcomes;
pub mod revocations;
pub mod run_log;
pub mod workflows;

pub mod backend;

pub mod postgres;

#[cfg(feature = "sqlite")]
pub mod sqlite;

pub mod clock;

mod error_args;
mod exact;
mod health;
mod hosts;
mod last_error;
mod message_text;
mod migration;
mod task_end;
mod waiters;

mod sweep;

pub mod recorder;

pub mod sent;

pub mod cookbook;

#[cfg(feature = "conformance")]
pub mod conformance;

mod backoff;
mod error;
mod options;

pub use audit::{AuditEntry, AuditLog, AuditRecord, Operator, OperatorAction};
pub use backend::{Backend, connect, connect_watched, migrations};
pub use celeriac_protocol::task::TrackedStates;
pub use clock::StoreClock;
pub use cookbook::{CookbookQuery, QueryParameter};
pub use crash_log::{AttemptKey, CrashCheck, CrashCount, CrashLog, CrashTracker, CrashTrackerService, Finished};
pub use error::{Error, Result};
pub use health::StoreHealth;
pub use joins::{
    Arrival, FiredJoin, JoinMember, JoinResults, JoinTracker, JoinTrackerService, Joins, NOBODY, NewJoin, Turn,
};
pub use last_error::LastError;
pub use migration::Migration;
pub use options::{BatchOptions, PoolOptions, ResultsOptions, RetentionRule, StatsOptions};
pub use outcomes::{Outcomes, Recorded};
pub use postgres::PostgresBackend;
pub use postgres::overdue::{OverdueCount, OverdueRetries, OverdueRetry};
pub use postgres::relay::{Outbox, RelayLease};
pub use postgres::retention::PruneFilter;
pub use postgres::retry::FailedTask;
pub use postgres::transaction::{Committed, DatabaseFault, Session, StoreFault, Transaction, Transactions};
pub use postgres::{idempotency, outbox};
pub use record::{AttemptLog, AttemptRecord, SentRecord, TaskRecord, is_id};
pub use recorder::{Recorder, RecorderService};
pub use revocations::{RevocationCache, Revocations, RevokeOptions, Revoked, RunningTask};
pub use run_log::RunLog;
pub use sent::SentTasks;
pub use sqlx;
pub use sqlx::PgConnection;
#[doc(hidden)]
pub use task_end::TaskEnd;
pub use workflows::{SavedGroup, WorkflowChord, WorkflowTask, Workflows};
