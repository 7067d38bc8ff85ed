//! Everything in Celeriac that speaks AMQP, and its in-process twin.
//!
//! In reading order:
//!
//! - [`broker`]: the contract, which is all that clients and workers know of a broker;
//! - [`settle`]: acknowledge, reject or requeue, once, and together where possible;
//! - [`browse`]: a look through a queue that leaves it as it is;
//! - [`dead`]: what stands in dead-letter queues, to be listed, replayed and purged;
//! - [`amqp`]: the contract on RabbitMQ, split by duty;
//! - [`memory`]: the contract in process;
//! - [`mod@management`]: RabbitMQ's own view, over its HTTP API;
//! - [`plan`]: topology as code: what differs between files and broker;
//! - `conformance` (a feature of this crate, for tests): the suite that both pass.

pub mod broker;

pub mod settle;

pub mod browse;

pub mod dead;

pub mod amqp;

pub mod memory;

pub mod management;

pub mod plan;

#[cfg(feature = "conformance")]
pub mod conformance;

mod error;
mod options;

pub use amqp::{Migration, Removal};
pub use broker::{Broker, Consumer, Delivery, Depth, Health, Origin, Outgoing, Subscription};
pub use browse::{Browsed, Browser};
pub use dead::{DeadLetter, Filter};
pub use error::{Error, Result, TlsFault};
pub use management::{Management, management};
pub use options::{BrokerOptions, TlsOptions, connect};
pub use settle::Settlement;
