//! Everything in Celeriac that speaks AMQP, and its in-process twin.
//!
//! In reading order:
//!
//! - [`broker`]: the contract, which is all that clients and workers know of a broker;
//! - [`topology`]: exchanges, queues and bindings as data;
//! - [`route`]: which of them a task goes to;
//! - [`delay`]: how a message waits for its time;
//! - [`settle`]: acknowledge, reject or requeue, once, and together where possible;
//! - [`amqp`]: the contract on RabbitMQ, split by duty;
//! - [`memory`]: the contract in process;
//! - [`management`]: RabbitMQ's own view, over its HTTP API;
//! - [`plan`]: topology as code: what differs between files and broker;
//! - `conformance` (a feature of this crate, for tests): the suite that both pass.

pub mod broker;

pub mod topology;

pub mod route;

pub mod delay;

pub mod settle;

pub mod amqp;

pub mod memory;

pub mod management;

pub mod plan;

#[cfg(feature = "conformance")]
pub mod conformance;

mod error;
mod options;

pub use broker::{Broker, Consumer, Delivery, Health, Origin, Outgoing, Subscription};
pub use error::{Error, Result};
pub use management::{Management, management};
pub use options::{BrokerOptions, connect};
pub use route::{CallRoute, Destination, Explanation, Manner, Router, RoutesOptions, Rule};
pub use settle::Settlement;
pub use topology::Topology;
