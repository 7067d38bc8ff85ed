//! The broker that the options select.

use std::sync::Arc;

use celeriac_telemetry::trace::set_server;

use crate::amqp::{AmqpBroker, AmqpPool, nodes};
use crate::broker::Broker;
use crate::error::{Error, Result};
use crate::memory::MemoryBroker;
use crate::options::BrokerOptions;
use crate::startup::StartupChecks;

/// Returns the broker that the options select. The broker lists this program as `name`.
///
/// Connects at the first use.
///
/// # Errors
/// Returns an error if the options are invalid.
pub fn connect(options: &BrokerOptions, name: &str) -> Result<Arc<dyn Broker>> {
    connect_with_checks(options, name, None)
}

/// Returns the same broker, which runs `checks` after each declaration.
///
/// # Errors
/// Returns an error if the options are invalid.
pub fn connect_with_checks(
    options: &BrokerOptions,
    name: &str,
    checks: Option<Arc<dyn StartupChecks>>,
) -> Result<Arc<dyn Broker>> {
    check(options)?;
    if options.is_in_process() {
        return Ok(Arc::new(MemoryBroker::new(options)));
    }
    // Of several nodes, the one of a connection is not known beforehand.
    if let [node] = &*nodes(options)? {
        set_server(&node.host, node.port);
    }
    Ok(Arc::new(AmqpBroker::new(options, name)?.with_checks(checks)))
}

/// Returns a broker on the program's own pool: see [`AmqpBroker::on_pool`].
///
/// # Errors
/// Returns an error if the options are invalid.
pub fn connect_on_pool(
    pool: AmqpPool,
    options: &BrokerOptions,
    checks: Option<Arc<dyn StartupChecks>>,
) -> Result<Arc<dyn Broker>> {
    check(options)?;
    Ok(Arc::new(AmqpBroker::on_pool(pool, options).with_checks(checks)))
}

fn check(options: &BrokerOptions) -> Result<()> {
    match options.validate().into_iter().next() {
        None => Ok(()),
        Some((key, reason)) => Err(Error::Invalid { key: format!("broker.{key}"), reason }),
    }
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;

    use super::*;

    #[test]
    fn the_url_chooses_the_broker() {
        let connect = |url: &str| connect(&BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() }, "test");
        assert!(format!("{:?}", connect("memory://").unwrap()).starts_with("MemoryBroker"));
        let amqp = format!("{:?}", connect("amqp://u:secret@host").unwrap());
        assert!(amqp.starts_with("AmqpBroker") && !amqp.contains("secret"), "{amqp}");
        let error = connect("redis://host").unwrap_err();
        assert_eq!(error.to_string(), "broker.url: should begin with amqp://, amqps:// or memory://");
    }
}
