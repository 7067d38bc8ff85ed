//! A bridge to the server over a TCP connection of its own, with `TCP_NODELAY`, keepalive and
//! `TCP_USER_TIMEOUT`.
//!
//! The driver opens its TCP connection itself and sets no option of it. Two follow from that:
//!
//! - Nagle's algorithm stays on. Over TLS the driver writes a statement of more than 16 KB as
//!   several records. The kernel then holds back all records after the first until the server
//!   acknowledges that one, and a server that is still reading delays the acknowledgement for about
//!   40 ms.
//! - A path that loses every packet ends the connection after a quarter of an hour, or never if the
//!   driver only waits.
//!
//! The driver also connects to Unix sockets, so this module opens the TCP connection, and the
//! driver reaches it over a Unix socket of this process. The driver still does TLS from end to end.
//! The bridge also sees each [silence](super::silence) of the server.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::server::PostgresServer;
use super::silence::{Traffic, address, silence};

/// Bytes carried at once: a few TLS records to the server, and one back.
const TO_SERVER: usize = 64 * 1024;
const TO_DRIVER: usize = 16 * 1024;

/// Connects to this host of the server, and returns the options for the driver. The bridge ends
/// with either side, or with the server's silence.
///
/// # Errors
/// Returns an error if the server refuses the connection.
pub(super) async fn open(server: &PostgresServer, host: PgConnectOptions) -> io::Result<PgConnectOptions> {
    // Without abstract sockets there is no bridge: statements may stall, and silence lasts.
    let Some((listener, directory)) = is_remote(&host).then(|| listen(&host)).flatten() else {
        return Ok(host);
    };
    let mut opened = Some(connect_server(server, &host).await?);
    let deadline = Instant::now() + server.connect_timeout();
    let bridged = host.clone().socket(directory);
    let own = server.clone();
    server.bridges().spawn(async move {
        // The driver's pool tries again while a server is starting, at the same address.
        while let Some(driver) = accept(&own, &listener, deadline).await {
            let connected = match opened.take() {
                Some(connected) => connected,
                None => match connect_server(&own, &host).await {
                    Ok(connected) => connected,
                    Err(_) => continue,
                },
            };
            carry(&own, &host, driver, connected).await;
        }
    });
    Ok(bridged)
}

async fn connect_server(server: &PostgresServer, host: &PgConnectOptions) -> io::Result<TcpStream> {
    let connected = TcpStream::connect(address(host)).await?;
    connected.set_nodelay(true)?;
    let socket = SockRef::from(&connected);
    socket.set_tcp_user_timeout(Some(server.tcp_user_timeout()))?;
    // The kernel counts in seconds, and ends the connection after `TCP_USER_TIMEOUT` here too.
    let every = server.quiet().max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(every).with_interval(every))?;
    Ok(connected)
}

fn is_remote(options: &PgConnectOptions) -> bool {
    options.get_socket().is_none() && !options.get_host().starts_with('/')
}

/// Listens at the address that the driver uses: an abstract socket, which is in no file system.
fn listen(options: &PgConnectOptions) -> Option<(UnixListener, String)> {
    let directory = format!("\0celeriac-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let listener = UnixListener::bind(format!("{directory}/.s.PGSQL.{}", options.get_port())).ok()?;
    Some((listener, directory))
}

/// Waits for the driver. Other processes can reach the address too, and are refused.
async fn accept(server: &PostgresServer, listener: &UnixListener, deadline: Instant) -> Option<UnixStream> {
    let own = i32::try_from(std::process::id()).ok();
    loop {
        let accepted = server.closing().run_until_cancelled(timeout_at(deadline, listener.accept())).await?;
        let (driver, _) = accepted.ok()?.ok()?;
        if driver.peer_cred().is_ok_and(|peer| peer.pid() == own) {
            return Some(driver);
        }
    }
}

/// Carries bytes until one side ends, or until the server is silent. The server must see at once
/// that the driver has closed.
async fn carry(server: &PostgresServer, host: &PgConnectOptions, mut driver: UnixStream, mut connected: TcpStream) {
    let traffic = Traffic::new();
    let (from_driver, to_driver) = driver.split();
    let (from_server, to_server) = connected.split();
    let ended = tokio::select! {
        ended = pass(from_driver, to_server, TO_SERVER, || traffic.asked()) => ended,
        ended = pass(from_server, to_driver, TO_DRIVER, || traffic.answered()) => ended,
        reason = silence(host, &traffic, server.quiet()) => Err(reason),
    };
    // The driver sees the end on its own socket, whatever the reason.
    if let Err(error) = ended
        && error.kind() == io::ErrorKind::TimedOut
    {
        server.health().connection_failed(&error.to_string());
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: usize,
    carried: impl Fn(),
) -> io::Result<()> {
    let mut buffer = vec![0; bytes];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            read => {
                carried();
                to.write_all(&buffer[..read]).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;
    use tokio::net::TcpListener;

    use super::*;
    use crate::last_error::LastError;
    use crate::options::ResultsOptions;

    fn server_at(url: &str) -> PostgresServer {
        let options = ResultsOptions {
            url: Secret::new(url),
            connect_timeout: Duration::from_secs(20),
            tcp_user_timeout: Duration::from_secs(3),
            ..ResultsOptions::default()
        };
        PostgresServer::new(&options, LastError::default()).unwrap()
    }

    /// Returns a listener, and a server for it.
    async fn server(mode: &str) -> (TcpListener, PostgresServer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://u@{}/d?sslmode={mode}", listener.local_addr().unwrap());
        (listener, server_at(&url))
    }

    /// Connects as the driver does.
    async fn connect(options: &PgConnectOptions) -> UnixStream {
        let directory = options.get_socket().unwrap().to_str().unwrap();
        UnixStream::connect(format!("{directory}/.s.PGSQL.{}", options.get_port())).await.unwrap()
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_of_one_side_ends_the_other() {
        for mode in ["prefer", "disable"] {
            let (listener, server) = server(mode).await;
            let bridged = open(&server, server.options().clone()).await.unwrap();
            let (mut driver, (mut socket, _)) =
                tokio::join!(connect(&bridged), async { listener.accept().await.unwrap() });
            let (mut there, mut back) = ([0; 5], [0; 5]);
            driver.write_all(b"there").await.unwrap();
            socket.read_exact(&mut there).await.unwrap();
            socket.write_all(b"again").await.unwrap();
            driver.read_exact(&mut back).await.unwrap();
            assert_eq!((&there, &back), (b"there", b"again"));
            driver.write_all(b"last").await.unwrap();
            drop(driver);
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"last");
            server.close().await;
        }
    }

    #[tokio::test]
    async fn the_connection_to_the_server_fills_no_packet_and_notices_a_dead_path() {
        let (_listener, server) = server("prefer").await;
        let connected = connect_server(&server, server.options()).await.unwrap();
        assert!(connected.nodelay().unwrap());
        let socket = SockRef::from(&connected);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(3)));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_silent_server_ends_the_bridge() {
        let (listener, server) = server("disable").await;
        let bridged = open(&server, server.options().clone()).await.unwrap();
        server.health().connected();
        let mut driver = connect(&bridged).await;
        driver.write_all(b"a statement").await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        assert_eq!(driver.read(&mut [0; 8]).await.unwrap(), 0, "the driver sees the end");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"a statement");
        assert!(server.health().is_lost());
    }

    #[tokio::test]
    async fn a_driver_that_tries_again_reaches_the_server_again() {
        let (listener, server) = server("prefer").await;
        let bridged = open(&server, server.options().clone()).await.unwrap();
        for _ in 0..3 {
            let mut driver = connect(&bridged).await;
            drop(listener.accept().await.unwrap());
            assert_eq!(driver.read(&mut [0; 8]).await.unwrap(), 0);
        }
        server.close().await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_at_once() {
        let (listener, server) = server("require").await;
        drop(listener);
        let error = open(&server, server.options().clone()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_server_on_a_unix_socket_has_no_bridge() {
        let server = server_at("postgres://u@%2Fvar%2Frun%2Fpostgresql/d");
        let bridged = open(&server, server.options().clone()).await.unwrap();
        assert_eq!((bridged.get_socket(), server.bridges().len()), (server.options().get_socket(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_does_not_come_is_not_waited_for() {
        let (_listener, server) = server("prefer").await;
        drop(open(&server, server.options().clone()).await.unwrap());
        server.bridges().close();
        server.bridges().wait().await;
    }
}
