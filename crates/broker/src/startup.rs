//! Checks of a broker beside AMQP, after each declaration.

use std::fmt;

use celeriac_topology::Topology;
use futures::future::BoxFuture;

/// Warns if the broker ignores a part of the configuration. AMQP does not show that, but RabbitMQ's
/// management API does.
pub trait StartupChecks: fmt::Debug + Send + Sync {
    /// Checks, and logs warnings. Tasks run without these checks, so there is no error.
    fn check<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, ()>;
}
