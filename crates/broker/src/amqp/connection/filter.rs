//! A filter between the broker and lapin.
//!
//! Some messages that RabbitMQ delivers would end the connection in lapin, or the whole process,
//! before this crate sees them: see [`content`]. The filter rewrites them into messages that lapin
//! can parse, and adds a header with the reason. A worker dead-letters a message with that header.
//!
//! - `frames`: finds the frames in the bytes of a connection;
//! - `content`: checks and rewrites the properties and headers of a message.

mod content;
mod frames;

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::{DummyIO, RuntimeParts};
use async_rs::{Runtime, Tokio};
use futures::Stream;
use futures::io::{AsyncRead, AsyncWrite};
use lapin::AsyncTcpStream;

use self::frames::FrameFilter;

/// A TCP connection, with or without TLS.
pub(super) type PlainOrTls = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// Returns the bytes that lapin gets of these, if they arrive in pieces of this size.
#[cfg(feature = "conformance")]
pub(in crate::amqp) fn filtered_bytes(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut filter = FrameFilter::new(128 << 10);
    let (mut rest, mut passed, mut buffer) = (bytes, Vec::new(), [0; 1024]);
    while !rest.is_empty() {
        let room = filter.missing().map_or(piece, |missing| missing.min(piece)).min(rest.len());
        let (read, behind) = rest.split_at(room);
        rest = behind;
        let count = filter.accept(read);
        passed.extend_from_slice(&read[..count]);
        loop {
            let taken = filter.take(&mut buffer);
            if taken == 0 {
                break;
            }
            passed.extend_from_slice(&buffer[..taken]);
        }
    }
    passed
}

/// A connection whose incoming frames are filtered.
pub(super) struct FilteredStream {
    stream: PlainOrTls,
    filter: FrameFilter,
}

impl FilteredStream {
    /// Filters the frames of `stream`. `frame_max` is the size of the largest frame that this side
    /// offers; zero is no limit.
    pub(super) fn new(stream: PlainOrTls, frame_max: u32) -> Self {
        Self { stream, filter: FrameFilter::new(frame_max) }
    }
}

impl AsyncRead for FilteredStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { stream, filter } = &mut *self;
        loop {
            let rewritten = filter.take(buffer);
            if rewritten > 0 {
                return Poll::Ready(Ok(rewritten));
            }
            // The rest of a held frame is read alone, so that the next one can stay in the buffer.
            let room = filter.missing().map_or(buffer.len(), |missing| missing.min(buffer.len()));
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer[..room]))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            let passed = filter.accept(&buffer[..read]);
            if passed > 0 {
                return Poll::Ready(Ok(passed));
            }
        }
    }
}

impl AsyncWrite for FilteredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A runtime for lapin whose TCP stream is a [`FilteredStream`].
pub(super) type FilteredRuntime = Runtime<RuntimeParts<Tokio, FilteredTcp>>;

/// Returns a runtime for connections that are filtered.
pub(super) fn filtered(tokio: Tokio) -> FilteredRuntime {
    Runtime::new(RuntimeParts::new(tokio.clone(), FilteredTcp(tokio)))
}

/// The sockets and timers of Tokio, with a filter in each socket.
#[derive(Debug, Clone)]
pub(super) struct FilteredTcp(Tokio);

impl Reactor for FilteredTcp {
    type TcpStream = FilteredStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    // lapin brings no sockets of its own.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<DummyIO, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<FilteredStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(FilteredStream::new(AsyncTcpStream::Plain(connecting.await?), 0)) }
    }
}
