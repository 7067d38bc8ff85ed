//! Everything in Celeriac that speaks AMQP, and its in-process twin.
//!
//! In reading order:
//!
//! - [`broker`]: the contract, which is all that clients and workers know of a broker;
//! - [`mod@headers`]: how large the headers of a message may be;
//! - [`settle`]: acknowledge, reject or requeue, once, and together where possible;
//! - [`browse`]: a look through a queue that leaves it as it is;
//! - `delivery`: a message that arrived, and where it came from;
//! - [`amqp`]: the contract on RabbitMQ, split by duty;
//! - [`memory`]: the contract in process;
//! - `conformance` (a feature of this crate, for tests): the suite that both pass.

pub mod broker;

pub mod headers;

pub mod settle;

pub mod browse;

mod delivery;

pub mod amqp;

pub mod memory;

#[cfg(feature = "conformance")]
pub mod conformance;

mod connect;
mod error;
mod options;
mod startup;
mod validate;

pub use amqp::{AmqpBroker, AmqpPool, Inspection, NodeAddress, QueueDeletion, nodes};
pub use broker::{Broker, Consumer, Depth, Health, Outgoing, Subscription};
pub use browse::{Browsed, Browser};
pub use connect::{connect, connect_on_pool, connect_with_checks};
pub use delivery::{Delivery, DeliveryInfo};
pub use error::{Error, Result, TlsFault};
pub use options::{BrokerOptions, TlsOptions};
pub use settle::Settlement;
pub use startup::StartupChecks;
