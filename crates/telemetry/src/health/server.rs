//! The HTTP server of `/livez`, `/readyz` and `/metrics`.
//!
//! It runs on a thread and a runtime of its own, so that it answers even if tasks that do not yield
//! occupy every thread of the program's runtime.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::heartbeat::INTERVAL;
use super::{Heartbeat, ListenAddress, LiveAnswer, ReadyAnswer, services};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::events::telemetry::HealthServed;
use crate::export::prometheus::MetricsPage;

/// Most connections at a time. Others wait to be accepted.
const CONNECTIONS: usize = 16;

/// Longest time for the head of a request to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// Longest time for a request and its answer.
const CONNECTION: Duration = Duration::from_secs(10);

/// Most headers of a request, and most bytes of its head.
const HEADERS: usize = 32;
const HEAD_SIZE: usize = 8 * 1024;

/// Longest time for the server to close its socket. It waits for no connection.
const CLOSING: Duration = Duration::from_millis(100);

/// Wait after a connection could not be accepted: there may be no free file descriptor.
const REFUSED: Duration = Duration::from_millis(100);

/// A server that listens.
#[derive(Debug)]
pub(crate) struct HealthServer {
    listener: Listener,
    name: String,
    metrics: MetricsPage,
    heartbeat: Option<Arc<Heartbeat>>,
}

#[derive(Debug)]
enum Listener {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The file of a Unix socket. Dropping it removes the file.
#[cfg(unix)]
#[derive(Debug)]
struct SocketFile(std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The thread of a server. Dropping it stops the server, and waits until its socket is closed.
#[derive(Debug)]
pub(crate) struct ServingThread {
    /// Address of the server.
    pub(crate) address: String,
    stop: CancellationToken,
    ended: mpsc::Receiver<Infallible>,
}

impl Drop for ServingThread {
    fn drop(&mut self) {
        self.stop.cancel();
        // A process that exits first would leave the file of its socket.
        let _ = self.ended.recv_timeout(CLOSING);
    }
}

impl HealthServer {
    /// Listens at `address` for the process of this name.
    pub(crate) fn bind(
        address: &ListenAddress,
        name: String,
        metrics: MetricsPage,
        heartbeat: Option<Arc<Heartbeat>>,
    ) -> Result<Self> {
        let failed = |source: io::Error| Error::Listen { address: address.to_string(), source };
        let listener = match address {
            ListenAddress::Tcp(address) => std::net::TcpListener::bind(address).map(Listener::Tcp),
            #[cfg(unix)]
            ListenAddress::Unix(path) => bind_unix(path),
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking().map_err(failed)?;
        Ok(Self { listener, name, metrics, heartbeat })
    }

    /// Serves on a thread of its own, until `stop` or the end of what this returns.
    pub(crate) fn start(self, stop: CancellationToken) -> Result<ServingThread> {
        let address = self.listener.shown();
        let failed = |source: io::Error| Error::Listen { address: address.clone(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (served, stopped) = (address.clone(), stop.clone());
        // Dropped when the thread has closed its listener.
        let (running, ended) = mpsc::channel();
        let serve = move || {
            let _running: mpsc::Sender<Infallible> = running;
            let run = async move {
                HealthServed { address: &served }.emit();
                stopped.run_until_cancelled(self.serve()).await
            };
            if let Some(Some(Err(error))) = runtime.block_on(services().watch("health server", run)) {
                services().failed("health server", &error.to_string());
            }
        };
        std::thread::Builder::new().name("celeriac-health".to_owned()).spawn(serve).map_err(failed)?;
        Ok(ServingThread { address, stop, ended })
    }

    async fn serve(self) -> io::Result<Infallible> {
        let Self { listener, name, metrics, heartbeat } = self;
        let answers = Arc::new(Answers { name, metrics, heartbeat });
        let connections = TaskTracker::new();
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        let accepting = async {
            match listener {
                Listener::Tcp(listener) => {
                    let listener = TcpListener::from_std(listener)?;
                    accept(async || Ok(listener.accept().await?.0), &answers, &connections, &free).await
                }
                #[cfg(unix)]
                Listener::Unix(listener, _file) => {
                    let listener = UnixListener::from_std(listener)?;
                    accept(async || Ok(listener.accept().await?.0), &answers, &connections, &free).await
                }
            }
        };
        tokio::select! {
            ended = accepting => ended,
            never = ask_for_beats(answers.heartbeat.as_deref()) => match never {},
        }
    }
}

impl Listener {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.set_nonblocking(true),
        }
    }

    /// Returns the address, with the port that the system has chosen for port 0.
    fn shown(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            #[cfg(unix)]
            Self::Unix(_, file) => ListenAddress::Unix(file.0.clone()).to_string(),
        }
    }
}

/// Listens at a Unix socket. Removes the file of a process that ended without removing it.
#[cfg(unix)]
fn bind_unix(path: &std::path::Path) -> io::Result<Listener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(Listener::Unix(UnixListener::bind(path)?, SocketFile(path.to_owned())))
}

/// Accepts connections, as many at a time as are free.
async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    next: impl AsyncFn() -> io::Result<S>,
    answers: &Arc<Answers>,
    connections: &TaskTracker,
    free: &Arc<Semaphore>,
) -> io::Result<Infallible> {
    loop {
        let permit = Arc::clone(free).acquire_owned().await.map_err(io::Error::other)?;
        match next().await {
            Ok(stream) => {
                let answers = Arc::clone(answers);
                connections.spawn(async move {
                    // A client that is slow or breaks off has no answer.
                    let _ = timeout(CONNECTION, converse(stream, &answers)).await;
                    drop(permit);
                });
            }
            Err(_) => sleep(REFUSED).await,
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, answers: &Answers) -> hyper::Result<()> {
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answers.to(&request))));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// Asks for a heartbeat at every interval.
async fn ask_for_beats(heartbeat: Option<&Heartbeat>) -> Infallible {
    let Some(heartbeat) = heartbeat else { return std::future::pending().await };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        heartbeat.ask();
    }
}

/// Everything that an answer needs.
#[derive(Debug)]
struct Answers {
    name: String,
    metrics: MetricsPage,
    heartbeat: Option<Arc<Heartbeat>>,
}

impl Answers {
    fn to(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if !request.body().is_end_stream() {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "send no body\n");
        }
        match request.uri().path() {
            "/livez" => {
                let answer = LiveAnswer::now(&self.name, self.heartbeat.as_deref());
                json(answer.live, &answer)
            }
            "/readyz" => {
                let answer = ReadyAnswer::now(&self.name, self.heartbeat.as_deref());
                json(answer.ready, &answer)
            }
            "/metrics" => match self.metrics.text() {
                Ok(page) => page_of(StatusCode::OK, MetricsPage::CONTENT_TYPE, page),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            _ => text(StatusCode::NOT_FOUND, "this server has /livez, /readyz and /metrics\n"),
        }
    }
}

fn json(fine: bool, answer: &impl Serialize) -> Response<Full<Bytes>> {
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page_of(status, "application/json", serde_json::to_string(answer).unwrap_or_default() + "\n")
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    page_of(status, "text/plain; charset=utf-8", text.to_owned())
}

fn page_of(status: StatusCode, kind: &'static str, page: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(page)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
