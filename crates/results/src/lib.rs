//! Where the outcome of a task is stored and awaited.
//!
//! In reading order:
//!
//! - [`record`]: what is known of a task, one row each;
//! - [`backend`]: the contract of a store;
//! - [`backends`]: Postgres, and SQLite for programs without a server;
//! - [`revocations`]: which tasks are not to run;
//! - [`suspects`]: which may have brought their worker down;
//! - [`recorder`]: many outcomes in one write;
//! - [`transaction`]: a task's own work and its outcome in one commit;
//! - [`outbox`]: tasks that are sent in somebody's own transaction;
//! - [`idempotency`]: tasks that are sent once under a key;
//! - `conformance`, behind the feature of that name: the suite that every store passes.

pub mod record;

pub mod backend;

pub mod backends;

#[cfg_attr(
    not(any(feature = "postgres", feature = "sqlite")),
    expect(dead_code, reason = "without a store nobody fills it")
)]
pub mod revocations;

pub mod suspects;

pub mod recorder;

pub mod transaction;

pub mod outbox;

pub mod idempotency;

#[cfg(feature = "conformance")]
pub mod conformance;

mod error;
mod options;
mod pause;
mod sweep;

pub use backend::{Backend, Recorded};
pub use error::{Error, Result};
pub use options::{BatchOptions, PoolOptions, ResultsOptions, connect};
pub use record::{AttemptRecord, TaskRecord};
pub use recorder::{Recorder, RecorderService};
pub use revocations::{Begun, Revocations, Revoke, Revoked};
#[cfg(feature = "postgres")]
pub use sqlx;
pub use suspects::{AttemptKey, Cleared, Suspect, Suspects, SuspectsService, Suspicion};
pub use transaction::{Committed, PgConnection, Session, Transaction, Transactions};
