//! The broker that the options name.

use std::sync::Arc;

use crate::amqp::{AmqpBroker, AmqpPool};
use crate::broker::Broker;
use crate::error::{Error, Result};
use crate::memory::MemoryBroker;
use crate::options::BrokerOptions;
use crate::startup::StartupChecks;

/// The broker that the options name. `name` is what the broker's lists show of this program.
///
/// Does not connect yet: connections are made where they are needed.
///
/// # Errors
/// When the options do not make sense.
pub fn connect(options: &BrokerOptions, name: &str) -> Result<Arc<dyn Broker>> {
    connect_with_checks(options, name, None)
}

/// The same, looked at with these checks once everything is declared.
///
/// # Errors
/// As [`connect`].
pub fn connect_with_checks(
    options: &BrokerOptions,
    name: &str,
    checks: Option<Arc<dyn StartupChecks>>,
) -> Result<Arc<dyn Broker>> {
    check(options)?;
    if options.is_in_process() {
        return Ok(Arc::new(MemoryBroker::new(options)));
    }
    Ok(Arc::new(AmqpBroker::new(options, name)?.with_checks(checks)))
}

/// The broker that a pool leads to, which the program has already: see [`AmqpBroker::on_pool`].
///
/// # Errors
/// When the options do not make sense.
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
        let amqp = format!("{:?}", connect("amqp://u:secret@host/").unwrap());
        assert!(amqp.starts_with("AmqpBroker") && !amqp.contains("secret"), "{amqp}");
        let error = connect("redis://host").unwrap_err();
        assert_eq!(error.to_string(), "broker.url: should begin with amqp://, amqps:// or memory://");
    }
}
