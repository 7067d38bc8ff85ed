//! How a connection to one node is made, and when one may be used again: what a pool asks of us.
//!
//! `deadpool-lapin` answers that too, but takes a URL and no certificates.

use std::fmt;
use std::io;
use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

use super::ground::Ground;
use super::tls::Tls;

/// Makes connections to one node.
pub(super) struct Dialer {
    uri: AMQPUri,
    /// What the server's list of connections shows.
    name: String,
    /// For a node that speaks TLS.
    tls: Option<Tls>,
    ground: Arc<Ground>,
}

impl Dialer {
    pub(super) fn new(uri: AMQPUri, name: String, tls: Option<Tls>, ground: Arc<Ground>) -> Self {
        Self { uri, name, tls, ground }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dialer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Manager for Dialer {
    type Type = Connection;
    type Error = lapin::Error;

    async fn create(&self) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let tls = self.tls.clone();
        let runtime = {
            let handle = self.ground.handle()?;
            let _entered = handle.enter();
            lapin::runtime::default_runtime()?
        };
        Connection::connector(
            self.uri.clone(),
            runtime,
            async move |uri, runtime| {
                let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
                let stream = AsyncTcpStream::connect(&runtime, address).await?;
                let Some(tls) = &tls else { return Ok(stream) };
                // On the connection's own thread, which may wait for a file.
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
