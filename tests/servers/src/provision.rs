//! A RabbitMQ and a Postgres, from any source.

use std::path::PathBuf;
use std::thread;

use anyhow::{Result, anyhow, bail};

use crate::compose::{self, Container};
use crate::guard::end_detached;
use crate::install::{PostgresInstallation, RabbitInstallation};
use crate::postgres::{Durability, PostgresNode};
use crate::rabbit::{RabbitNode, RabbitSpec};
use crate::release::{RABBIT, RabbitRelease};

/// URL of the RabbitMQ for tests, with a user who may create virtual hosts:
/// `amqp://guest:guest@127.0.0.1:5672/%2f`.
pub const AMQP_URL: &str = "CELERIAC_TEST_AMQP_URL";
/// URL of the management API of that RabbitMQ: `http://guest:guest@127.0.0.1:15672`.
pub const MANAGEMENT_URL: &str = "CELERIAC_TEST_MANAGEMENT_URL";
/// URL of the Postgres for tests, with a user who may create databases:
/// `postgres://postgres@127.0.0.1/postgres`.
pub const DATABASE_URL: &str = "CELERIAC_TEST_DATABASE_URL";

/// A RabbitMQ and a Postgres. Dropping the value ends those that it started.
#[derive(Debug)]
pub struct Servers {
    release: RabbitRelease,
    broker: Broker,
    database: Database,
}

#[derive(Debug)]
enum Broker {
    Given { amqp: String, management: Option<String> },
    Private(Box<RabbitNode>),
    Container(Container),
}

#[derive(Debug)]
enum Database {
    Given(String),
    Private(Box<PostgresNode>),
    Container(Container),
}

impl Servers {
    /// Takes the servers named by [`AMQP_URL`], [`MANAGEMENT_URL`] and [`DATABASE_URL`].
    ///
    /// A server without a name is started as by [`start`](Self::start), with this durability. A
    /// request for a `release` ignores a named RabbitMQ, because its release is unknown.
    pub fn obtain(durability: Durability, release: Option<RabbitRelease>) -> Result<Self> {
        let named =
            |name| std::env::var_os(name).and_then(|value| value.into_string().ok()).filter(|url| !url.is_empty());
        let broker = named(AMQP_URL).filter(|_| release.is_none());
        let broker = broker.map(|amqp| Broker::Given { amqp, management: named(MANAGEMENT_URL) });
        let release = release.map_or_else(RabbitRelease::chosen, Ok)?;
        Self::complete(broker, named(DATABASE_URL).map(Database::Given), durability, release)
    }

    /// Starts a private RabbitMQ and a private Postgres from the programs on this machine.
    ///
    /// Installs missing ones if this process is root and there is apt-get, and otherwise uses
    /// Docker. If nothing works, the error says what can be done.
    pub fn start(durability: Durability, release: RabbitRelease) -> Result<Self> {
        Self::complete(None, None, durability, release)
    }

    fn complete(
        broker: Option<Broker>,
        database: Option<Database>,
        durability: Durability,
        release: RabbitRelease,
    ) -> Result<Self> {
        thread::scope(|scope| {
            let broker = scope.spawn(|| broker.map_or_else(|| Broker::start(release), Ok));
            let database = database.map_or_else(|| Database::start(durability), Ok);
            let broker = broker.join().map_err(|_| anyhow!("the start of RabbitMQ panicked"))?;
            match (broker, database) {
                (Err(broker), Err(database)) => bail!("{broker:#}\n{database:#}"),
                (broker, database) => Ok(Self { release, broker: broker?, database: database? }),
            }
        })
    }

    /// Returns the URL of RabbitMQ's default virtual host.
    pub fn amqp_url(&self) -> String {
        match &self.broker {
            Broker::Given { amqp, .. } => amqp.clone(),
            Broker::Private(node) => node.url(),
            Broker::Container(container) => format!("amqp://guest:guest@127.0.0.1:{}/%2f", container.port(0)),
        }
    }

    /// Returns the URL of RabbitMQ's management API, without a path. `None` for a given server
    /// without it.
    pub fn management_url(&self) -> Option<String> {
        match &self.broker {
            Broker::Given { management, .. } => management.clone(),
            Broker::Private(node) => node.management_url(),
            Broker::Container(container) => Some(format!("http://guest:guest@127.0.0.1:{}", container.port(1))),
        }
    }

    /// Returns the URL of a database of the Postgres, whose user may create others.
    pub fn database_url(&self) -> String {
        match &self.database {
            Database::Given(url) => url.clone(),
            Database::Private(node) => node.url(),
            Database::Container(container) => format!("postgres://postgres@127.0.0.1:{}/postgres", container.port(0)),
        }
    }

    /// Returns the variables with which another process [obtains](Self::obtain) these servers, and
    /// starts nodes like this RabbitMQ.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables =
            vec![(RABBIT, self.release.to_string()), (AMQP_URL, self.amqp_url()), (DATABASE_URL, self.database_url())];
        variables.extend(self.management_url().map(|url| (MANAGEMENT_URL, url)));
        variables
    }

    /// Returns the RabbitMQ, if it is a private node.
    pub fn rabbit(&self) -> Option<&RabbitNode> {
        if let Broker::Private(node) = &self.broker { Some(node) } else { None }
    }

    /// Returns the Postgres, if it is a private server.
    pub fn postgres(&self) -> Option<&PostgresNode> {
        if let Database::Private(node) = &self.database { Some(node) } else { None }
    }

    /// Leaves started servers running after this process. [`end_detached`](crate::end_detached)
    /// with each of the returned folders ends them.
    pub fn detach(self) -> Result<Vec<PathBuf>> {
        let broker = match self.broker {
            Broker::Given { .. } => None,
            Broker::Private(node) => Some(node.detach()?),
            Broker::Container(container) => Some(container.detach()?),
        };
        let database = match self.database {
            Database::Given(_) => Ok(None),
            Database::Private(node) => node.detach().map(Some),
            Database::Container(container) => container.detach().map(Some),
        };
        // A broker that runs alone would be forgotten.
        if let (Some(folder), Err(_)) = (&broker, &database) {
            end_detached(folder)?;
        }
        let database = database?;
        Ok(broker.into_iter().chain(database).collect())
    }
}

impl Broker {
    fn start(release: RabbitRelease) -> Result<Self> {
        match RabbitInstallation::obtain(release) {
            Ok(_) => {
                // Tests read connections and queues through the management API, which shows only
                // collected statistics.
                let config = vec!["collect_statistics_interval = 1000".to_owned()];
                let node = RabbitSpec { release: Some(release), config, ..RabbitSpec::default() }.start()?;
                Ok(Self::Private(Box::new(node)))
            }
            // The compose file has the release of the container.
            Err(missing) if release != RabbitRelease::Installed => Err(missing),
            Err(missing) => {
                contained(missing, "rabbitmq", &["CELERIAC_AMQP_PORT", "CELERIAC_MANAGEMENT_PORT"]).map(Self::Container)
            }
        }
    }
}

impl Database {
    fn start(durability: Durability) -> Result<Self> {
        match PostgresInstallation::obtain() {
            Ok(_) => PostgresNode::start(durability).map(|node| Self::Private(Box::new(node))),
            Err(missing) => contained(missing, "postgres", &["CELERIAC_POSTGRES_PORT"]).map(Self::Container),
        }
    }
}

fn contained(missing: anyhow::Error, service: &str, ports: &[&str]) -> Result<Container> {
    if compose::answers() { Container::start(service, ports) } else { Err(missing) }
}
