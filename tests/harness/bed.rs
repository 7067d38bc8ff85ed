//! The broker and the store of one test, on real servers or in this process.

use std::sync::{Arc, Mutex, PoisonError};

use celeriac::Builder;
use celeriac::{Celeriac, Client, TaskDefinition};
use celeriac_config::Environment;
use sqlx::{Connection, PgConnection};

use crate::in_process::InProcess;
use crate::management::Management;
use crate::peer::Peer;
use crate::program::Program;
use crate::real_servers::RealServers;
use crate::running::Running;

/// A broker and a store for one test: a virtual host and a database, or a broker in memory and a
/// SQLite file.
///
/// Both are removed after the test. A virtual host and a database stay if it fails.
#[derive(Debug, Clone)]
pub struct Bed {
    ground: Arc<Ground>,
    started: Arc<Mutex<Started>>,
}

#[derive(Debug)]
enum Ground {
    RealServers(RealServers),
    InProcess(InProcess),
}

/// Values that are dropped with the test.
#[derive(Debug, Default)]
struct Started {
    workers: Vec<Running>,
    clients: Vec<Client>,
}

/// Runs a test on the servers that `cargo xtask test` names in the environment, on a runtime with
/// this many threads.
///
/// # Panics
/// Panics if the test does, or if there are no servers.
pub fn on_real_servers(threads: Option<usize>, test: impl AsyncFnOnce(Bed)) {
    block_on(threads, async { run(Bed::on(Ground::RealServers(RealServers::new().await)), test).await });
}

/// Runs a test on a broker in memory and SQLite, on a runtime with this many threads.
///
/// # Panics
/// Panics if the test does.
pub fn in_process(threads: Option<usize>, test: impl AsyncFnOnce(Bed)) {
    block_on(threads, async { run(Bed::on(Ground::InProcess(InProcess::new())), test).await });
}

fn block_on(threads: Option<usize>, test: impl Future<Output = ()>) {
    let runtime = match threads {
        Some(threads) => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        None => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    runtime.expect("a runtime").block_on(test);
}

async fn run(bed: Bed, test: impl AsyncFnOnce(Bed)) {
    test(bed.clone()).await;
    bed.end_what_was_started().await;
    bed.clear().await;
}

impl Bed {
    fn on(ground: Ground) -> Self {
        Self { ground: Arc::new(ground), started: Arc::default() }
    }

    /// Returns the broker's URL, with the virtual host of this test.
    pub fn amqp_url(&self) -> String {
        match &*self.ground {
            Ground::RealServers(servers) => servers.amqp_url(),
            Ground::InProcess(process) => process.broker_url(),
        }
    }

    /// Returns the URL of the database, or of the SQLite file.
    pub fn database_url(&self) -> String {
        match &*self.ground {
            Ground::RealServers(servers) => servers.database_url(),
            Ground::InProcess(process) => process.store_url(),
        }
    }

    /// Returns a program on this broker and this store, without further configuration.
    pub fn program(&self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Builder {
        Celeriac::builder()
            .environment(Environment::default())
            .set("broker.url", self.amqp_url())
            .set("results.url", self.database_url())
            .tasks(tasks)
    }

    /// Starts a worker of these tasks in this process, which ends with the test.
    ///
    /// # Panics
    /// Panics if it cannot be built.
    pub async fn worker(&self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Running {
        self.start(self.program(tasks)).await
    }

    /// Starts a worker of this program in this process, which ends with the test.
    ///
    /// # Panics
    /// Panics if it cannot be built.
    pub async fn start(&self, program: Builder) -> Running {
        let running = Running::start(&program.build().expect("a program")).await;
        self.started().workers.push(running.clone());
        running
    }

    /// Returns a client of this program, which is closed after the test.
    ///
    /// # Panics
    /// Panics if it cannot be built.
    pub async fn client(&self, program: Builder) -> Client {
        let client = program.build().expect("a program").client().await.expect("a client");
        self.started().clients.push(client.clone());
        client
    }

    /// Returns the variables with which another process uses this broker and this store.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("CELERIAC__BROKER__URL", self.amqp_url()), ("CELERIAC__RESULTS__URL", self.database_url())]
    }

    /// Returns the same with further variables, which override the bed's.
    pub fn environment_with<'a>(&self, variables: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
        let own = self.environment().into_iter().filter(|(name, _)| !variables.iter().any(|(other, _)| other == name));
        own.chain(variables.iter().cloned()).collect()
    }

    /// Starts the test program in a process of its own, with this command line.
    ///
    /// # Panics
    /// Panics if it cannot be started, or if the broker and the store are in this process.
    pub fn process(&self, arguments: &[&str]) -> Program {
        self.process_with(arguments, &[])
    }

    /// Starts it as [`process`](Self::process) does, with further variables: see
    /// [`environment_with`](Self::environment_with).
    ///
    /// # Panics
    /// Panics if it cannot be started, or if the broker and the store are in this process.
    pub fn process_with(&self, arguments: &[&str], variables: &[(&str, String)]) -> Program {
        self.real_servers();
        Program::start(arguments, &self.environment_with(variables))
    }

    /// Returns a bare client of this broker.
    pub async fn peer(&self) -> Peer {
        match &*self.ground {
            Ground::RealServers(servers) => Peer::connect(&servers.amqp_url()).await,
            Ground::InProcess(process) => Peer::in_process(&process.broker_url()),
        }
    }

    /// Returns RabbitMQ's management API, and the name of this virtual host.
    ///
    /// # Panics
    /// Panics if the broker is in this process.
    pub fn management(&self) -> (&Management, &str) {
        self.real_servers().management()
    }

    /// Opens a bare connection to the database.
    ///
    /// # Panics
    /// Panics if the store is SQLite.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.real_servers().database_url()).await.expect("the test's database")
    }

    /// Removes virtual host and database. A failed test never gets here, so both can be inspected.
    async fn clear(self) {
        if let Ground::RealServers(servers) = &*self.ground {
            servers.remove().await;
        }
    }

    async fn end_what_was_started(&self) {
        let Started { workers, clients } = std::mem::take(&mut *self.started());
        for worker in workers {
            worker.stop().await;
        }
        for client in clients {
            client.close().await;
        }
    }

    fn started(&self) -> std::sync::MutexGuard<'_, Started> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn real_servers(&self) -> &RealServers {
        match &*self.ground {
            Ground::RealServers(servers) => servers,
            Ground::InProcess(_) => panic!("only real servers have it: mark the test `#[celeriac_tests::test(real)]`"),
        }
    }
}
