//! Managers that make the connections of a pool, and the thread that drives those connections.
//!
//! `deadpool_lapin` has a manager, but it supports neither an authority nor a client certificate.
//! [`TlsManager`] replaces it if TLS files are configured.

use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::runtime::{Builder, Handle, Runtime};

use super::tls::Tls;

/// A runtime with one thread, started for the first connection.
///
/// The broker closes a connection after two heartbeats without data. Tasks may occupy every thread
/// of their runtime for longer, so sockets and heartbeats have a runtime of their own.
#[derive(Debug, Default)]
pub(crate) struct IoRuntime(Mutex<Option<Runtime>>);

impl IoRuntime {
    /// Runs `work` with this runtime as the current one.
    ///
    /// # Errors
    /// Returns an error if the system cannot start a thread.
    fn enter<T>(&self, work: impl FnOnce() -> lapin::Result<T>) -> lapin::Result<T> {
        let handle = self.handle()?;
        let _entered = handle.enter();
        work()
    }

    fn handle(&self) -> io::Result<Handle> {
        let mut runtime = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let made = Builder::new_multi_thread().worker_threads(1).thread_name("celeriac-amqp").enable_all().build()?;
        Ok(runtime.insert(made).handle().clone())
    }
}

impl Drop for IoRuntime {
    fn drop(&mut self) {
        // Ended in the background, because a task's thread must not block. No work is left on it.
        if let Some(runtime) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns a manager of connections to one node. The server lists them as `name`.
///
/// # Errors
/// Returns an error if the system cannot start a thread for them.
pub(super) fn manager(uri: &AMQPUri, name: String, io: &IoRuntime) -> lapin::Result<deadpool_lapin::Manager> {
    let properties = move || ConnectionProperties::default().with_connection_name(name.as_str().into());
    Ok(deadpool_lapin::Manager::new(uri.to_string(), properties, io.enter(lapin::runtime::default_runtime)?))
}

/// Makes connections to one node over TLS, with the configured files.
pub(super) struct TlsManager {
    uri: AMQPUri,
    name: String,
    tls: Tls,
    io: Arc<IoRuntime>,
}

impl TlsManager {
    pub(super) fn new(uri: AMQPUri, name: String, tls: Tls, io: Arc<IoRuntime>) -> Self {
        Self { uri, name, tls, io }
    }
}

impl fmt::Debug for TlsManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsManager").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Manager for TlsManager {
    type Type = Connection;
    type Error = lapin::Error;

    async fn create(&self) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let tls = self.tls.clone();
        Connection::connector(
            self.uri.clone(),
            self.io.enter(lapin::runtime::default_runtime)?,
            async move |uri, runtime| {
                let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
                let stream = AsyncTcpStream::connect(&runtime, address).await?;
                // This runs on the connection's own thread, which may block to read a file.
                let connector = tls.connector().map_err(io::Error::other)?;
                Ok(stream.into_rustls(&connector, &uri.authority.host).await?)
            },
            properties,
        )
        .await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<lapin::Error> {
        let status = connection.status();
        if status.connected() { Ok(()) } else { Err(RecycleError::message(format!("{status:?}"))) }
    }
}
