//! The harness of the end-to-end tests.
//!
//! - [`authority`]: certificates for a test;
//! - [`macro@test`]: a test on real servers and in process, from one body;
//! - [`bed`]: the broker and the store of one test: `real_servers`, on those that `cargo xtask
//!   test` starts, or `in_process`;
//! - [`book`]: compares issued ids with effects: missing ones, and those that took effect twice;
//! - [`management`]: RabbitMQ's management API;
//! - [`manifests`]: the manifests of `deploy/kubernetes`, rendered;
//! - [`outcome`]: assertions on the end of a task;
//! - [`peer`]: a bare client of the broker, which publishes to any queue and reads any;
//! - [`probe`]: the pages of a health server;
//! - [`proxy`]: a TCP proxy that can cut connections;
//! - [`running`]: a worker in this process;
//! - [`program`]: a worker in a process of its own, to be killed;
//! - [`python`]: Celery itself, as a worker and as a client;
//! - [`collector`]: a receiver of traces; [`graph`]: its spans as text;
//! - [`wire`]: AMQP by hand, for messages that no client library writes;
//! - [`panic_at`]: a panic inside a service;
//! - [`wait`]: waits for conditions, never for time.
//!
//! Missing servers are an error with a remedy. No test is skipped.
#![expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
#![expect(clippy::print_stderr, reason = "where a failed test left its virtual host and database")]

pub mod authority;
pub mod bed;
pub mod book;
pub mod collector;
pub mod graph;
mod in_process;
pub mod management;
pub mod manifests;
pub mod outcome;
pub mod panic_at;
pub mod peer;
pub mod probe;
pub mod program;
pub mod proxy;
pub mod python;
mod real_servers;
pub mod running;
pub mod wait;
pub mod wire;

pub use authority::Authority;
pub use bed::Bed;
pub use book::{Book, Effects, Tally};
pub use celeriac_tests_macros::test;
pub use collector::Collector;
pub use graph::Graph;
pub use management::Management;
pub use panic_at::PanicAt;
pub use peer::Peer;
pub use program::Program;
pub use proxy::Proxy;
pub use python::{PythonApp, PythonClient, PythonWorker};
pub use running::Running;
pub use wait::eventually;
