//! The manager that makes the connections of a pool, and the thread that drives those connections.
//!
//! `deadpool_lapin` has a manager, but it supports neither an authority nor a client certificate,
//! and no filter.

use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use async_rs::{Tokio, TokioRuntime};
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::runtime::{Builder, Handle, Runtime};

use super::filter::{FilteredStream, PlainOrTls, filtered};
use super::tls::Tls;

/// A runtime with one thread, started for the first connection.
///
/// The broker closes a connection after two heartbeats without data. Tasks may occupy every thread
/// of their runtime for longer, so sockets and heartbeats have a runtime of their own.
#[derive(Debug, Default)]
pub(crate) struct IoRuntime(Mutex<Option<Runtime>>);

impl IoRuntime {
    /// Returns the runtime.
    ///
    /// # Errors
    /// Returns an error if the system cannot start a thread.
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

/// Makes connections to one node.
pub(super) struct NodeManager {
    uri: AMQPUri,
    name: String,
    /// The certificates to use, if they are in files.
    tls: Option<Tls>,
    io: Arc<IoRuntime>,
}

impl NodeManager {
    /// Returns a manager of connections to `uri`. The server lists them as `name`.
    pub(super) fn new(uri: AMQPUri, name: String, tls: Option<Tls>, io: Arc<IoRuntime>) -> Self {
        Self { uri, name, tls, io }
    }
}

impl fmt::Debug for NodeManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NodeManager").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Manager for NodeManager {
    type Type = Connection;
    type Error = lapin::Error;

    async fn create(&self) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let tokio = Tokio::default().with_handle(self.io.handle()?);
        let (tls, runtime) = (self.tls.clone(), TokioRuntime::new(tokio.clone()));
        let connect = async move |uri: AMQPUri, _| {
            let stream = open(&uri, tls.as_ref(), &runtime).await?;
            Ok(AsyncTcpStream::Plain(FilteredStream::new(stream, uri.query.frame_max.unwrap_or_default())))
        };
        Connection::connector(self.uri.clone(), filtered(tokio), connect, properties).await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<lapin::Error> {
        let status = connection.status();
        if status.connected() { Ok(()) } else { Err(RecycleError::message(format!("{status:?}"))) }
    }
}

/// Opens a TCP connection to a node, and secures it if the URL says so.
async fn open(uri: &AMQPUri, tls: Option<&Tls>, runtime: &TokioRuntime) -> io::Result<PlainOrTls> {
    let Some(tls) = tls else {
        return uri.connect_with_config_async(OwnedTLSConfig::default().as_ref(), runtime).await;
    };
    let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
    let stream = AsyncTcpStream::connect(runtime, address).await?;
    // This runs on the connection's own thread, which may block to read a file.
    let connector = tls.connector().map_err(io::Error::other)?;
    stream.into_rustls(&connector, &uri.authority.host).await
}
