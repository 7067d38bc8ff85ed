//! The contract of a store: all its parts together, and those that only Postgres has.

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::audit::AuditLog;
use crate::clock::StoreClock;
use crate::crash_log::CrashLog;
use crate::error::{Error, Result};
use crate::health::StoreHealth;
use crate::joins::Joins;
use crate::last_error::LastError;
use crate::migration::Migration;
use crate::options::{ResultsOptions, StoreKind};
use crate::outcomes::Outcomes;
use crate::postgres::PostgresBackend;
use crate::revocations::Revocations;
use crate::run_log::RunLog;
#[cfg(feature = "sqlite")]
use crate::sqlite::SqliteBackend;
use crate::workflows::Workflows;

/// A store of outcomes, revocations, crashes, long runs, operators' actions, joins and workflows.
pub trait Backend: Outcomes + Revocations + CrashLog + RunLog + AuditLog + Joins + Workflows {
    /// Returns the store as Postgres. Only Postgres has transactions, an outbox and idempotency
    /// keys.
    fn postgres(&self) -> Option<&PostgresBackend> {
        None
    }

    /// Returns the availability of the store.
    fn health(&self) -> &StoreHealth;

    /// Returns the clock by which programs on this store decide.
    fn clock(&self) -> &StoreClock;

    /// Closes all connections. Open waits end with an error.
    fn close(&self) -> BoxFuture<'_, ()>;
}

impl Backend for PostgresBackend {
    fn postgres(&self) -> Option<&PostgresBackend> {
        Some(self)
    }

    fn health(&self) -> &StoreHealth {
        self.health()
    }

    fn clock(&self) -> &StoreClock {
        self.clock()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

#[cfg(feature = "sqlite")]
impl Backend for SqliteBackend {
    fn health(&self) -> &StoreHealth {
        self.health()
    }

    fn clock(&self) -> &StoreClock {
        self.clock()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

/// Opens the store that the options select, and creates or migrates its tables. Returns `None` for
/// `none` and `rpc://`.
///
/// # Errors
/// Returns an error if the options are invalid, if the store cannot be reached within
/// `connect_timeout`, or if its tables cannot be migrated.
pub async fn connect(options: &ResultsOptions) -> Result<Option<Arc<dyn Backend>>> {
    connect_watched(options, LastError::default()).await
}

/// Does the same as [`connect`], and keeps the error of each failed attempt in `last_error`.
///
/// # Errors
/// Returns the errors of [`connect`].
pub async fn connect_watched(options: &ResultsOptions, last_error: LastError) -> Result<Option<Arc<dyn Backend>>> {
    match kind(options)? {
        Some(StoreKind::Postgres) => Ok(Some(Arc::new(PostgresBackend::connect(options, last_error).await?))),
        #[cfg(feature = "sqlite")]
        Some(StoreKind::Sqlite) => Ok(Some(Arc::new(SqliteBackend::connect(options).await?))),
        _ => Ok(None),
    }
}

/// Returns every migration of the store that the options select, and whether it is applied.
/// Changes nothing. Empty for a store without tables. [`connect`] applies pending migrations.
/// `last_error` keeps the error of each failed attempt to connect.
///
/// # Errors
/// Returns an error if the options are invalid, or if the store cannot be reached within
/// `connect_timeout`.
pub async fn migrations(options: &ResultsOptions, last_error: LastError) -> Result<Vec<Migration>> {
    match kind(options)? {
        Some(StoreKind::Postgres) => PostgresBackend::migrations(options, last_error).await,
        #[cfg(feature = "sqlite")]
        Some(StoreKind::Sqlite) => SqliteBackend::migrations(options).await,
        _ => Ok(Vec::new()),
    }
}

fn kind(options: &ResultsOptions) -> Result<Option<StoreKind>> {
    match options.validate().into_iter().next() {
        Some((key, reason)) => Err(Error::Invalid { key: format!("results.{key}"), reason }),
        None => Ok(StoreKind::of(options.url.expose())),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;

    use super::*;

    fn with_url(url: &str) -> ResultsOptions {
        ResultsOptions { url: Secret::new(url), ..ResultsOptions::default() }
    }

    #[tokio::test]
    async fn no_store_is_a_choice() {
        for (url, replies) in [("none", false), ("rpc://", true)] {
            assert!(connect(&with_url(url)).await.unwrap().is_none());
            assert_eq!(with_url(url).are_replies(), replies);
        }
        assert!(matches!(connect(&with_url("nothing")).await, Err(Error::Invalid { key, .. }) if key == "results.url"));
    }
}
