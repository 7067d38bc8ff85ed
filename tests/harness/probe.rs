//! Reads the pages of a health server over its Unix socket.

use std::path::Path;

use celeriac_telemetry::health::{LiveAnswer, ReadyAnswer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Returns status and body of a page, or `None` if nobody listens.
pub async fn page(socket: &Path, path: &str) -> Option<(u16, String)> {
    request(socket, &format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await
}

/// Sends a request as it is, and returns status and body of the answer. `None`: no answer.
pub async fn request(socket: &Path, request: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    // The server may answer and close before it has read everything, which ends with an error here.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Returns status and answer of `/livez`. `None`: nobody listens.
///
/// # Panics
/// Panics if the answer cannot be read.
pub async fn livez(socket: &Path) -> Option<(u16, LiveAnswer)> {
    let (status, body) = page(socket, "/livez").await?;
    Some((status, serde_json::from_str(&body).expect("an answer of /livez")))
}

/// Returns status and answer of `/readyz`. `None`: nobody listens.
///
/// # Panics
/// Panics if the answer cannot be read.
pub async fn readyz(socket: &Path) -> Option<(u16, ReadyAnswer)> {
    let (status, body) = page(socket, "/readyz").await?;
    Some((status, serde_json::from_str(&body).expect("an answer of /readyz")))
}
