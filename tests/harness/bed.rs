//! What one test stands on: a broker and a store of its own, on real servers or in this process.

use std::sync::{Arc, Mutex, PoisonError};

use celeriac::app::Builder;
use celeriac::{Celeriac, Client, TaskDefinition};
use celeriac_config::Environment;
use sqlx::{Connection, PgConnection};

use crate::in_process::InProcess;
use crate::management::Management;
use crate::peer::Peer;
use crate::program::Program;
use crate::real_servers::RealServers;
use crate::running::Running;

/// A broker and a store that nobody else uses: a virtual host and a database, or a broker in memory and a file of SQLite.
///
/// Both are gone after the test. A virtual host and a database stay when it fails.
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

/// What ends with the test.
#[derive(Debug, Default)]
struct Started {
    workers: Vec<Running>,
    clients: Vec<Client>,
}

/// Runs a test on the servers that `cargo xtask test` names in the environment, on a runtime of so many threads.
///
/// # Panics
/// When the test does, or there are no servers.
pub fn on_real_servers(threads: Option<usize>, test: impl AsyncFnOnce(Bed)) {
    block_on(threads, async { run(Bed::new().await, test).await });
}

/// Runs a test on a broker in memory and SQLite, on a runtime of so many threads.
///
/// # Panics
/// When the test does.
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
    /// A virtual host and a database on the servers that `cargo xtask test` names in the environment.
    ///
    /// # Panics
    /// When there are no servers; the message says how to get them.
    pub async fn new() -> Self {
        Self::on(Ground::RealServers(RealServers::new().await))
    }

    fn on(ground: Ground) -> Self {
        Self { ground: Arc::new(ground), started: Arc::default() }
    }

    /// The broker's URL, with the virtual host of this test.
    pub fn amqp_url(&self) -> String {
        match &*self.ground {
            Ground::RealServers(servers) => servers.amqp_url(),
            Ground::InProcess(process) => process.broker_url(),
        }
    }

    /// The URL of the database, or of SQLite's file.
    pub fn database_url(&self) -> String {
        match &*self.ground {
            Ground::RealServers(servers) => servers.database_url(),
            Ground::InProcess(process) => process.store_url(),
        }
    }

    /// A program on this broker and this store, with no other configuration.
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
    /// When it cannot be put together.
    pub async fn worker(&self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Running {
        self.start(self.program(tasks)).await
    }

    /// Starts a worker of this program in this process, which ends with the test.
    ///
    /// # Panics
    /// When it cannot be put together.
    pub async fn start(&self, program: Builder) -> Running {
        let running = Running::start(&program.build().expect("a program")).await;
        self.started().workers.push(running.clone());
        running
    }

    /// A client of this program, which is closed after the test.
    ///
    /// # Panics
    /// When it cannot be put together.
    pub async fn client(&self, program: Builder) -> Client {
        let client = program.build().expect("a program").client().await.expect("a client");
        self.started().clients.push(client.clone());
        client
    }

    /// The variables by which a program of its own uses this broker and this store.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [("CELERIAC__BROKER__URL", self.amqp_url()), ("CELERIAC__RESULTS__URL", self.database_url())]
    }

    /// The same with others beside them; one of the same name counts before the bed's.
    pub fn environment_with<'a>(&self, variables: &[(&'a str, String)]) -> Vec<(&'a str, String)> {
        let own = self.environment().into_iter().filter(|(name, _)| !variables.iter().any(|(other, _)| other == name));
        own.chain(variables.iter().cloned()).collect()
    }

    /// Starts the test program in a process of its own, with this command line.
    ///
    /// # Panics
    /// When it cannot be started, or the broker and the store are in this process.
    pub fn process(&self, arguments: &[&str]) -> Program {
        self.process_with(arguments, &[])
    }

    /// Starts it as [`process`](Self::process) does, with these variables as well: see [`environment_with`](Self::environment_with).
    ///
    /// # Panics
    /// As [`process`](Self::process) does.
    pub fn process_with(&self, arguments: &[&str], variables: &[(&str, String)]) -> Program {
        self.real_servers();
        Program::start(arguments, &self.environment_with(variables))
    }

    /// A bare client of this broker.
    pub async fn peer(&self) -> Peer {
        match &*self.ground {
            Ground::RealServers(servers) => Peer::connect(&servers.amqp_url()).await,
            Ground::InProcess(process) => Peer::in_process(&process.broker_url()),
        }
    }

    /// RabbitMQ's own view of this virtual host.
    ///
    /// # Panics
    /// When the broker is in this process.
    pub fn management(&self) -> (&Management, &str) {
        self.real_servers().management()
    }

    /// A bare connection to the database.
    ///
    /// # Panics
    /// When the store is SQLite.
    pub async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.real_servers().database_url()).await.expect("the test's database")
    }

    /// Takes virtual host and database away. A test that failed never gets here, so both can be looked at.
    pub async fn clear(self) {
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
