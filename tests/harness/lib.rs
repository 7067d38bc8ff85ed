//! The harness of the end-to-end tests.
//!
//! - [`authority`]: certificates of a test's own;
//! - [`macro@test`]: a test on real servers and in process, from one body;
//! - [`bed`]: the broker and the store of one test: `real_servers`, on those that `cargo xtask test` brings up, or
//!   `in_process`;
//! - [`book`]: what was issued, what took effect, what is missing, what is doubled;
//! - [`management`]: RabbitMQ's own view, over its HTTP API;
//! - [`outcome`]: how a task ended, asserted by name;
//! - [`peer`]: the broker as a bare client sees it, to put anything on a queue and to look into one;
//! - [`proxy`]: a network that can be cut;
//! - [`running`]: a worker in this process;
//! - [`program`]: a worker in a process of its own, to be killed;
//! - [`python`]: Celery itself, as a worker and as a client;
//! - [`collector`]: a receiver of traces;
//! - [`wait`]: waiting for what happens, never for time.
//!
//! Servers that are missing are an error that says how to get them; no test is skipped.
#![expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
#![expect(clippy::print_stderr, reason = "where a failed test left its virtual host and database")]

pub mod authority;
pub mod bed;
pub mod book;
pub mod collector;
mod in_process;
pub mod management;
pub mod outcome;
pub mod peer;
pub mod program;
pub mod proxy;
pub mod python;
mod real_servers;
pub mod running;
pub mod wait;

pub use authority::Authority;
pub use bed::Bed;
pub use book::{Book, Effects, Tally};
pub use celeriac_tests_macros::test;
pub use collector::Collector;
pub use peer::Peer;
pub use program::Program;
pub use proxy::Proxy;
pub use python::{PythonApp, PythonClient, PythonWorker};
pub use running::Running;
pub use wait::eventually;
