//! Notices a server that has fallen silent while it owes an answer.
//!
//! The kernel notices a path that loses packets. It does not notice a server that hangs, or a proxy
//! that acknowledges bytes and delivers none. Neither can be distinguished from a long statement on
//! the connection itself, so a second connection asks the server for a single byte.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// The request for TLS, with which a client may begin. The server answers it with one byte, before
/// it asks for a user.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// The traffic of a connection.
#[derive(Debug)]
pub(super) struct Traffic {
    began: Instant,
    /// Milliseconds from the beginning to the last bytes.
    last: AtomicU64,
    /// True if the server has sent nothing since the driver's last bytes.
    awaits: AtomicBool,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), last: AtomicU64::new(0), awaits: AtomicBool::new(false) }
    }

    /// Records bytes of the driver.
    pub(super) fn asked(&self) {
        self.record(true);
    }

    /// Records bytes of the server.
    pub(super) fn answered(&self) {
        self.record(false);
    }

    fn record(&self, awaits: bool) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.awaits.store(awaits, Ordering::Relaxed);
    }

    /// Waits until the driver has waited for an answer this long.
    async fn unanswered(&self, limit: Duration) {
        loop {
            let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let left = limit.saturating_sub(last.elapsed());
            match self.awaits.load(Ordering::Relaxed) {
                true if left.is_zero() => return,
                true => sleep(left).await,
                false => sleep(limit).await,
            }
        }
    }
}

/// Waits until the server owes an answer for longer than `quiet`, and does not answer on a new
/// connection within `quiet` either. Returns the reason.
pub(super) async fn silence(options: &PgConnectOptions, traffic: &Traffic, quiet: Duration) -> io::Error {
    loop {
        traffic.unanswered(quiet).await;
        let asked = Instant::now();
        if !answers(options, quiet).await {
            let reason = format!("no answer, nor to a new connection within {}s", quiet.as_secs_f64());
            return io::Error::new(io::ErrorKind::TimedOut, reason);
        }
        // A long statement. The server is asked again later.
        sleep(quiet.saturating_sub(asked.elapsed())).await;
    }
}

/// Returns the TCP address of the server. URLs have an IPv6 address in brackets.
pub(super) fn address(options: &PgConnectOptions) -> (&str, u16) {
    (options.get_host().trim_start_matches('[').trim_end_matches(']'), options.get_port())
}

/// Returns `true` if the server, or the system that it runs on, answers a new connection.
async fn answers(options: &PgConnectOptions, within: Duration) -> bool {
    let answered = timeout(within, async {
        let mut server = TcpStream::connect(address(options)).await?;
        server.write_all(&SSL_REQUEST).await?;
        server.read_u8().await
    });
    match answered.await {
        Ok(Ok(_)) => true,
        // Somebody refuses new connections, which says nothing about this one.
        Ok(Err(error)) => !matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
        ),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use tokio::net::TcpListener;

    use super::*;

    const QUIET: Duration = Duration::from_millis(100);

    /// Returns a server that accepts connections without an answer, and options for it.
    async fn hanging() -> (TcpListener, PgConnectOptions) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://u@{}/d", server.local_addr().unwrap());
        (server, PgConnectOptions::from_str(&url).unwrap())
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_silent() {
        let (_server, options) = hanging().await;
        let traffic = Traffic::new();
        traffic.asked();
        let begun = Instant::now();
        assert_eq!(silence(&options, &traffic, QUIET).await.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= QUIET * 2);
    }

    #[tokio::test]
    async fn a_server_that_owes_nothing_is_not_asked() {
        let (server, options) = hanging().await;
        let traffic = Traffic::new();
        traffic.asked();
        traffic.answered();
        tokio::select! {
            reason = silence(&options, &traffic, QUIET) => panic!("{reason}"),
            _ = server.accept() => panic!("it was asked"),
            () = sleep(QUIET * 4) => {}
        }
    }

    #[tokio::test]
    async fn a_long_statement_is_no_silence() {
        let (server, options) = hanging().await;
        let traffic = Traffic::new();
        traffic.asked();
        let answering = async {
            for _ in 0..3 {
                let (mut asking, _) = server.accept().await.unwrap();
                let mut request = [0; 8];
                asking.read_exact(&mut request).await.unwrap();
                assert_eq!(request, SSL_REQUEST);
                asking.write_all(b"S").await.unwrap();
            }
        };
        tokio::select! {
            reason = silence(&options, &traffic, QUIET) => panic!("{reason}"),
            () = answering => {}
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_new_connections_is_not_silent() {
        let (server, options) = hanging().await;
        drop(server);
        assert!(answers(&options, QUIET).await);
    }

    #[test]
    fn an_address_has_no_brackets() {
        for (url, host) in [("postgres://u@[::1]:5433/d", "::1"), ("postgres://u@db.internal:5433/d", "db.internal")] {
            assert_eq!(address(&PgConnectOptions::from_str(url).unwrap()), (host, 5433));
        }
    }
}
