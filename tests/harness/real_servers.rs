//! A virtual host of RabbitMQ and a database of Postgres for one test.

use celeriac_config::Environment;
use celeriac_servers::{AMQP_URL, DATABASE_URL, MANAGEMENT_URL};
use sqlx::{Connection, PgConnection};

use crate::management::Management;

/// A virtual host and a database for one test.
#[derive(Debug)]
pub(crate) struct RealServers {
    name: String,
    amqp_server: String,
    database_server: String,
    management: Management,
}

impl RealServers {
    /// Creates both on the servers that the environment names.
    pub(crate) async fn new() -> Self {
        let management = Management::new(&server(MANAGEMENT_URL));
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        let servers = Self { name, amqp_server: server(AMQP_URL), database_server: server(DATABASE_URL), management };
        servers.management.create_vhost(&servers.name).await;
        servers.run_statement(&format!("CREATE DATABASE {}", servers.name)).await;
        servers
    }

    pub(crate) fn amqp_url(&self) -> String {
        let (server, _) = self.amqp_server.rsplit_once('/').expect("an AMQP URL ends with a virtual host");
        format!("{server}/{}", self.name)
    }

    pub(crate) fn database_url(&self) -> String {
        let (server, _) = self.database_server.rsplit_once('/').expect("a database URL ends with a database");
        format!("{server}/{}", self.name)
    }

    pub(crate) fn management(&self) -> (&Management, &str) {
        (&self.management, &self.name)
    }

    /// Removes both.
    pub(crate) async fn remove(&self) {
        self.management.delete_vhost(&self.name).await;
        self.run_statement(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }

    async fn run_statement(&self, statement: &str) {
        let mut server = PgConnection::connect(&self.database_server).await.expect("the database server");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut server).await.expect("a statement");
    }
}

impl Drop for RealServers {
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
             and eval \"$(cargo xtask services env)\"; `cargo xtask test --in-process` needs none"
        )
    })
}
