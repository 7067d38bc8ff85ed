//! Celeriac's broker over AMQP, and an in-process implementation of the same contract.
//!
//! In reading order:
//!
//! - [`broker`]: the contract, which is all that clients and workers use;
//! - [`mod@headers`]: the limits for the headers of a message;
//! - [`settle`]: acknowledges, rejects or requeues a delivery once, in groups if possible;
//! - [`browse`]: reads a queue without a change;
//! - `delivery`: a delivered message and its origin;
//! - [`amqp`]: the contract on RabbitMQ, one module for each part;
//! - [`memory`]: the contract in process;
//! - `conformance` (a feature of this crate, for tests): the suite that both implementations pass.

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
pub use broker::{Broker, BrokerHealth, Consumer, Depth, Outgoing, Subscription, TransientExchange, TransientQueue};
pub use browse::{Browsed, Browser};
pub use connect::{connect, connect_on_pool, connect_with_checks};
pub use delivery::{Delivery, DeliveryInfo};
pub use error::{Error, PublishFault, Result, TlsFault};
pub use options::{BrokerOptions, TlsOptions};
pub use settle::{EarlyAck, Settlement};
pub use startup::StartupChecks;
