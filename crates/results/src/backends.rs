//! Postgres, and SQLite for programs without a server.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod exact;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migration;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod waiting;

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
