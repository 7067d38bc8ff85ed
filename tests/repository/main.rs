//! The repository keeps its own rules.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod circles;
mod edges;
mod files;
mod modules;
mod names;
mod quotes;
mod reference;
mod settlement;
mod standing;
