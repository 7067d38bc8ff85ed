//! A bridge to the server over a TCP connection of its own, with `TCP_NODELAY`.
//!
//! The driver opens its TCP connection itself and leaves Nagle's algorithm on. Over TLS it writes a
//! statement of more than 16 KB as several records. The kernel then holds back all records after
//! the first until the server acknowledges that one, and a server that is still reading delays the
//! acknowledgement for about 40 ms. The driver also connects to Unix sockets, so this module opens
//! the TCP connection, and the driver reaches it over a Unix socket of this process. The driver
//! still does TLS from end to end.

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, copy_buf};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// Bytes carried at once: a few TLS records to the server, and one back.
const TO_SERVER: usize = 64 * 1024;
const TO_DRIVER: usize = 16 * 1024;

/// Connects to the server, and returns the options for the driver. The bridge ends with either
/// side.
///
/// # Errors
/// Returns an error if the server refuses the connection.
pub(super) async fn open(
    options: &PgConnectOptions,
    patience: Duration,
    bridges: &TaskTracker,
) -> io::Result<PgConnectOptions> {
    // Without abstract sockets the driver connects directly, and large statements may be delayed.
    let Some((listener, directory)) = is_of_use(options).then(|| listen(options)).flatten() else {
        return Ok(options.clone());
    };
    let server = connect_server(options).await?;
    bridges.spawn(async move {
        if let Some(driver) = accept(&listener, Instant::now() + patience).await {
            drop(listener);
            carry(driver, server).await;
        }
    });
    Ok(options.clone().socket(directory))
}

async fn connect_server(options: &PgConnectOptions) -> io::Result<TcpStream> {
    let server = TcpStream::connect((options.get_host(), options.get_port())).await?;
    server.set_nodelay(true)?;
    Ok(server)
}

/// Returns `true` if the driver would write several TLS records to a TCP connection.
fn is_of_use(options: &PgConnectOptions) -> bool {
    let is_plain = matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow);
    let is_local = options.get_socket().is_some() || options.get_host().starts_with('/');
    !is_plain && !is_local
}

/// Listens at the address that the driver uses: an abstract socket, which is in no file system.
fn listen(options: &PgConnectOptions) -> Option<(UnixListener, String)> {
    let directory = format!("\0celeriac-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let listener = UnixListener::bind(format!("{directory}/.s.PGSQL.{}", options.get_port())).ok()?;
    Some((listener, directory))
}

/// Waits for the driver. Other processes can reach the address too, and are refused.
async fn accept(listener: &UnixListener, deadline: Instant) -> Option<UnixStream> {
    let own = i32::try_from(std::process::id()).ok();
    loop {
        let (driver, _) = timeout_at(deadline, listener.accept()).await.ok()?.ok()?;
        if driver.peer_cred().is_ok_and(|peer| peer.pid() == own) {
            return Some(driver);
        }
    }
}

/// Copies bytes until one side closes. The server must see at once that the driver has closed.
async fn carry(mut driver: UnixStream, mut server: TcpStream) {
    let (from_driver, to_driver) = driver.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = pass(from_driver, to_server, TO_SERVER) => {}
        () = pass(from_server, to_driver, TO_DRIVER) => {}
    }
}

async fn pass(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes: usize) {
    // After an error the driver sees that its own socket is closed.
    let _ = copy_buf(&mut BufReader::with_capacity(bytes, from), &mut to).await;
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Returns a server, and options for it.
    async fn server(mode: &str) -> (TcpListener, PgConnectOptions) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let url = format!("postgres://u@127.0.0.1:{port}/d?sslmode={mode}");
        (server, PgConnectOptions::from_str(&url).unwrap())
    }

    /// Connects as the driver does.
    async fn connect(options: &PgConnectOptions) -> UnixStream {
        let directory = options.get_socket().unwrap().to_str().unwrap();
        UnixStream::connect(format!("{directory}/.s.PGSQL.{}", options.get_port())).await.unwrap()
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_of_one_side_ends_the_other() {
        let (server, options) = server("prefer").await;
        let bridges = TaskTracker::new();
        let bridged = open(&options, PATIENCE, &bridges).await.unwrap();
        let (mut driver, (mut server, _)) = tokio::join!(connect(&bridged), async { server.accept().await.unwrap() });
        let (mut there, mut back) = ([0; 5], [0; 5]);
        driver.write_all(b"there").await.unwrap();
        server.read_exact(&mut there).await.unwrap();
        server.write_all(b"again").await.unwrap();
        driver.read_exact(&mut back).await.unwrap();
        assert_eq!((&there, &back), (b"there", b"again"));
        driver.write_all(b"last").await.unwrap();
        drop(driver);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"last");
        bridges.close();
        bridges.wait().await;
    }

    #[tokio::test]
    async fn the_connection_to_the_server_waits_to_fill_no_packet() {
        let (_server, options) = server("prefer").await;
        assert!(connect_server(&options).await.unwrap().nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_an_error_at_once() {
        let (server, options) = server("require").await;
        drop(server);
        let error = open(&options, PATIENCE, &TaskTracker::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn what_needs_no_bridge_has_none() {
        for url in ["postgres://u@localhost/d?sslmode=disable", "postgres://u@%2Fvar%2Frun%2Fpostgresql/d"] {
            let options = PgConnectOptions::from_str(url).unwrap();
            let bridges = TaskTracker::new();
            let bridged = open(&options, PATIENCE, &bridges).await.unwrap();
            assert_eq!((bridged.get_socket(), bridges.len()), (options.get_socket(), 0), "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_does_not_come_is_not_waited_for() {
        let (_server, options) = server("prefer").await;
        let bridges = TaskTracker::new();
        drop(open(&options, PATIENCE, &bridges).await.unwrap());
        bridges.close();
        bridges.wait().await;
    }
}
