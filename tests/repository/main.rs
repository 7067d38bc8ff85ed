//! The rules of the repository, as tests.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod circles;
mod edges;
mod files;
mod lifecycle;
mod logs;
mod migrations;
mod modules;
mod names;
mod prose;
mod quotes;
mod reference;
mod settlement;
mod standing;
