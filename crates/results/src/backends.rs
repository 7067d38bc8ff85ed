//! Postgres, and SQLite for programs without a server.

mod exact;
mod migration;
mod waiting;

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
