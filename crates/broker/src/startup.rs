//! Checks of a broker beside AMQP, once everything is declared.

use std::fmt;

use celeriac_topology::Topology;
use futures::future::BoxFuture;

/// Warns of what a broker does not do as it is configured. AMQP does not show that; who links RabbitMQ's management API
/// can look.
pub trait StartupChecks: fmt::Debug + Send + Sync {
    /// Looks, and warns. Tasks flow without it, so there is no error.
    fn check<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, ()>;
}
