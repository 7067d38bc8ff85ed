//! The repository keeps its own rules.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod edges;
mod files;
mod quotes;
mod reference;
