//! Private RabbitMQ and Postgres servers for tests and for trying things out.
//!
//! [`Servers::obtain`] gives one of each, wherever they can be had. [`RabbitNode`] and [`PostgresNode`] are single
//! servers as values: started, killed, restarted and joined by the test that owns them, gone when they are dropped;
//! [`RabbitCluster`] is several of the first. [`RabbitRelease`] says which RabbitMQ.
//! Each has a folder and ports of its own and listens on loopback only, so many can run side by side.
//! [`PythonEnvironment`] is the Python that interop tests run Celery with.
//!
//! No server outlives the process that owns it, not even when that process is killed: see [`Guard`].
//! All functions block; call them from a blocking thread of an async test.

mod cluster;
mod compose;
mod debian;
mod folder;
mod guard;
mod hosted;
mod install;
mod ports;
mod postgres;
mod process;
mod program;
mod provision;
mod python;
mod rabbit;
mod release;
mod wait;

pub use cluster::RabbitCluster;
pub use guard::{Ending, Guard, end_detached};
pub use install::{PostgresInstallation, RabbitInstallation};
pub use postgres::{Durability, PostgresNode, PostgresSpec};
pub use process::{Process, Signal, kill_below};
pub use provision::{AMQP_URL, DATABASE_URL, MANAGEMENT_URL, Servers};
pub use python::{PYTHON, PythonEnvironment};
pub use rabbit::{RabbitNode, RabbitSpec, RabbitTls};
pub use release::{RABBIT, RabbitRelease};
pub use wait::{interruption, until};
