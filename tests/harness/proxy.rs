//! A network that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Passes bytes on to a server until it is told to cut every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    held: watch::Sender<bool>,
    passed: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl Proxy {
    /// A proxy in front of `target`, such as `127.0.0.1:5672`.
    pub async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cuts, cut) = watch::channel(0);
        let (held, holds) = watch::channel(false);
        let stop = CancellationToken::new();
        let passed = Arc::new(AtomicUsize::new(0));
        let tracker = TaskTracker::new();
        let connections = tracker.clone();
        let (stopped, counted) = (stop.clone(), Arc::clone(&passed));
        tracker.spawn(async move {
            while let Some(Ok((client, _))) = stopped.run_until_cancelled(listener.accept()).await {
                counted.fetch_add(1, Ordering::Relaxed);
                connections.spawn(pass(client, target.clone(), cut.clone(), holds.clone(), stopped.clone()));
            }
        });
        Self { address, cuts, held, passed, _stop: stop.drop_guard() }
    }

    /// A URL of the target's, by way of this proxy.
    pub fn url(&self, direct: &str, target: &str) -> String {
        direct.replacen(target, &self.address.to_string(), 1)
    }

    /// Cuts every connection, in the middle of whatever passes.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on nothing passes, and nobody is told: what is sent is taken and gets nowhere, until it is cut.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut client: TcpStream,
    target: String,
    mut cut: watch::Receiver<u64>,
    mut held: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    cut.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    // Neither end waits to fill its packets, and so must not what is between them.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let passing = async {
        tokio::select! {
            biased;
            () = async { drop(held.wait_for(|held| *held).await) } => true,
            _ = copy_bidirectional(&mut client, &mut server) => false,
        }
    };
    let passing = async {
        if passing.await {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = passing => {}
        _ = cut.changed() => {}
        () = stop.cancelled() => {}
    }
    // Not an orderly end: what was on its way is lost, as when a cable is pulled.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
}
