//! A virtual host and a database for one test.

use celeriac::app::Builder;
use celeriac::{Celeriac, TaskDefinition};
use celeriac_config::Environment;
use celeriac_servers::{AMQP_URL, DATABASE_URL, MANAGEMENT_URL};
use sqlx::{Connection, PgConnection};

use crate::management::Management;
use crate::peer::Peer;

/// A virtual host and a database that nobody else uses. Both are gone after the test, and stay when it fails.
#[derive(Debug)]
pub struct Bed {
    name: String,
    amqp_server: String,
    database_server: String,
    management: Management,
}

impl Bed {
    /// Makes them on the servers that `cargo xtask test` names in the environment.
    ///
    /// # Panics
    /// When there are no servers; the message says how to get them.
    pub async fn new() -> Self {
        let management = Management::new(&server(MANAGEMENT_URL));
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let bed = Self { name, amqp_server: server(AMQP_URL), database_server: server(DATABASE_URL), management };
        bed.management.create_vhost(&bed.name).await;
        bed.database_command(&format!("CREATE DATABASE {}", bed.name)).await;
        bed
    }

    /// The broker's URL, with the virtual host of this test.
    pub fn amqp_url(&self) -> String {
        let (server, _) = self.amqp_server.rsplit_once('/').expect("an AMQP URL ends with a virtual host");
        format!("{server}/{}", self.name)
    }

    /// The database's URL.
    pub fn database_url(&self) -> String {
        let (server, _) = self.database_server.rsplit_once('/').expect("a database URL ends with a database");
        format!("{server}/{}", self.name)
    }

    /// A program on this virtual host and this database, with no other configuration.
    pub fn program(&self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Builder {
        Celeriac::builder()
            .environment(Environment::default())
            .set("broker.url", self.amqp_url())
            .set("results.url", self.database_url())
            .tasks(tasks)
    }

    /// A bare client of this virtual host.
    pub async fn peer(&self) -> Peer {
        Peer::connect(&self.amqp_url()).await
    }

    /// RabbitMQ's own view of this virtual host.
    pub fn management(&self) -> (&Management, &str) {
        (&self.management, &self.name)
    }

    /// A bare connection to the database.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.database_url()).await.expect("the test's database")
    }

    /// Takes virtual host and database away. A test that failed never gets here, so both can be looked at.
    pub async fn clear(self) {
        self.management.delete_vhost(&self.name).await;
        self.database_command(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    async fn database_command(&self, statement: &str) {
        let mut server = PgConnection::connect(&self.database_server).await.expect("the database server");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut server).await.expect("a statement");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {} and {}", self.amqp_url(), self.database_url());
        }
    }
}

fn server(name: &str) -> String {
    Environment::from_process().get(name).map(str::to_owned).unwrap_or_else(|| {
        panic!(
            "{name} is not set: these tests run against real servers. Use `cargo xtask test`, or `cargo xtask services up` \
             and eval \"$(cargo xtask services env)\""
        )
    })
}
