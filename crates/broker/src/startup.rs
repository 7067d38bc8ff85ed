//! Checks of a broker beside AMQP, after each declaration.

use std::fmt;

use celeriac_topology::Topology;
use futures::future::BoxFuture;

/// Warns if the broker does not act as it is configured. AMQP does not show that; an implementation
/// with RabbitMQ's management API can.
pub trait StartupChecks: fmt::Debug + Send + Sync {
    /// Checks, and logs warnings. Tasks run without these checks, so there is no error.
    fn check<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, ()>;
}
