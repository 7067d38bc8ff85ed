//! Private RabbitMQ and Postgres servers for tests and experiments.
//!
//! [`Servers::obtain`] returns one of each, from any source. [`RabbitNode`] and [`PostgresNode`]
//! are single servers as values. A test starts, kills, restarts and joins its own ones, and
//! dropping removes them. [`RabbitCluster`] is several RabbitMQ nodes. [`RabbitRelease`] selects
//! the RabbitMQ. [`PoolerNode`] is a PgBouncer. A program in a [`NetworkNamespace`] loses packets
//! on its [`Link`]s. [`WrongClock`] gives one process another time of day. Each server has a folder
//! and ports of its own and listens only on loopback, so many can run side by side.
//! [`PythonEnvironment`] is the Python in which interop tests run Celery. [`promtool`] checks rules
//! of Prometheus, and [`systemd_analyze`] units. [`protoc`] and [`chromium`] are the programs that
//! `tests/jaeger` needs.
//!
//! No server outlives its owner process, not even a killed one: see [`Guard`]. All functions block;
//! call them from a blocking thread of an async test.

mod checkers;
mod cluster;
mod compose;
mod debian;
mod disk;
mod folder;
mod guard;
mod hosted;
mod install;
mod jaeger;
mod network;
mod pooler;
mod ports;
mod postgres;
mod process;
mod program;
mod provision;
mod python;
mod rabbit;
mod release;
mod wait;
mod wrong_clock;

pub use checkers::{logrotate, promtool, systemd_analyze};
pub use cluster::RabbitCluster;
pub use disk::SmallDisk;
pub use guard::{Ending, Guard, end_detached};
pub use install::{PostgresInstallation, RabbitInstallation};
pub use jaeger::{chromium, protoc};
pub use network::{Link, Loss, NetworkNamespace};
pub use pooler::{PoolMode, PoolerNode};
pub use postgres::{Durability, PostgresNode, PostgresSpec};
pub use process::{Process, Signal, kill_below};
pub use provision::{AMQP_URL, DATABASE_URL, MANAGEMENT_URL, Servers};
pub use python::{PYTHON, PythonEnvironment};
pub use rabbit::{RabbitNode, RabbitSpec, RabbitTls};
pub use release::{RABBIT, RabbitRelease};
pub use wait::{interruption, until};
pub use wrong_clock::WrongClock;
