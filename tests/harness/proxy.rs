//! A TCP proxy that can cut connections, or fall silent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Forwards bytes to a server, and cuts all connections or holds back all bytes on request.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    cuts: watch::Sender<u64>,
    held: watch::Sender<bool>,
    muted: watch::Sender<bool>,
    /// For each connection: true if the bytes of its client are held back.
    requests: Arc<Mutex<Vec<watch::Sender<bool>>>>,
    target: watch::Sender<String>,
    _stop: DropGuard,
}

impl Proxy {
    /// Starts a proxy in front of `target`, such as `127.0.0.1:5672`.
    pub async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (cuts, cut) = watch::channel(0);
        let (held, holds) = watch::channel(false);
        let (muted, mutes) = watch::channel(false);
        let (target, targets) = watch::channel(target);
        let stop = CancellationToken::new();
        let requests = Arc::<Mutex<Vec<watch::Sender<bool>>>>::default();
        let tracker = TaskTracker::new();
        let connections = tracker.clone();
        let (stopped, lines) = (stop.clone(), Arc::clone(&requests));
        tracker.spawn(async move {
            while let Some(Ok((client, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (line, requests) = watch::channel(false);
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                let network = Network { cut: cut.clone(), held: holds.clone(), muted: mutes.clone(), requests };
                let target = targets.borrow().clone();
                connections.spawn(pass(client, target, network, stopped.clone()));
            }
        });
        Self { address, cuts, held, muted, requests, target, _stop: stop.drop_guard() }
    }

    /// Returns a URL of the target through this proxy.
    pub fn url(&self, direct: &str, target: &str) -> String {
        direct.replacen(target, &self.address.to_string(), 1)
    }

    /// Forwards new connections to another server, as a changed DNS name does. Present ones stay.
    pub fn lead_to(&self, target: String) {
        self.target.send_replace(target);
    }

    /// Cuts every connection, at any point of its traffic.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Holds back all bytes while `held`, also those of new connections, and closes nothing: the
    /// ends see no FIN and no RST. Afterwards the bytes arrive, as after a partition.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Does not forward the server's bytes while `muted`. Bytes to the server still pass.
    pub fn mute(&self, muted: bool) {
        self.muted.send_replace(muted);
    }

    /// Holds back the bytes that the client of one connection sends. Connections are counted from
    /// 0. Bytes to the client still pass.
    ///
    /// # Panics
    /// Panics if there was no such connection.
    pub fn hold_requests(&self, connection: usize) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.get(connection).expect("a connection").send_replace(true);
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The state of all connections, and of one of them.
struct Network {
    cut: watch::Receiver<u64>,
    held: watch::Receiver<bool>,
    muted: watch::Receiver<bool>,
    requests: watch::Receiver<bool>,
}

async fn pass(mut client: TcpStream, target: String, mut network: Network, stop: CancellationToken) {
    network.cut.mark_unchanged();
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    // Neither end delays its packets, so the proxy must not delay them either.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((mut asking, mut answered), (mut answering, mut asked)) = (client.split(), server.split());
    let passing = async {
        let there = copy(&mut asking, &mut asked, vec![network.held.clone(), network.requests]);
        let back = copy(&mut answering, &mut answered, vec![network.held, network.muted]);
        tokio::join!(there, back)
    };
    tokio::select! {
        biased;
        _ = network.cut.changed() => {}
        () = stop.cancelled() => {}
        _ = passing => {}
    }
    // Not an orderly close: bytes that were not delivered are lost, as when a cable is pulled.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
}

/// Forwards the bytes of one end, while nothing stops them, until it closes.
async fn copy(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, mut stopped: Vec<watch::Receiver<bool>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        for stopped in &mut stopped {
            let _ = stopped.wait_for(|stopped| !stopped).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
