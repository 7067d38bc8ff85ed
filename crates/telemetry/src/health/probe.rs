//! Asks the health server of another process.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{ListenAddress, LiveAnswer, ReadyAnswer};

/// Longest time for each step: to connect, to ask, to read.
const STEP: Duration = Duration::from_secs(2);

/// Most bytes of an answer.
const LARGEST: u64 = 64 * 1024;

/// Asks the process at `address` whether its runtime runs.
///
/// # Errors
/// Returns an error if no process answers there.
pub fn ask_live(address: &ListenAddress) -> io::Result<LiveAnswer> {
    ask(address, "/livez")
}

/// Asks the process at `address` whether it is ready.
///
/// # Errors
/// Returns an error if no process answers there.
pub fn ask_ready(address: &ListenAddress) -> io::Result<ReadyAnswer> {
    ask(address, "/readyz")
}

fn ask<A: DeserializeOwned>(address: &ListenAddress, page: &str) -> io::Result<A> {
    match address.local() {
        ListenAddress::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&address, STEP)?;
            stream.set_read_timeout(Some(STEP))?;
            stream.set_write_timeout(Some(STEP))?;
            exchange(stream, page)
        }
        #[cfg(unix)]
        ListenAddress::Unix(path) => {
            let stream = std::os::unix::net::UnixStream::connect(path)?;
            stream.set_read_timeout(Some(STEP))?;
            stream.set_write_timeout(Some(STEP))?;
            exchange(stream, page)
        }
        #[cfg(not(unix))]
        ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn exchange<A: DeserializeOwned>(mut stream: impl Read + Write, page: &str) -> io::Result<A> {
    stream.write_all(format!("GET {page} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    let foreign = || io::Error::new(io::ErrorKind::InvalidData, "another program answers there");
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(foreign)?;
    serde_json::from_slice(&answer[body + 4..]).map_err(|_| foreign())
}
