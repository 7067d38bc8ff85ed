//! Applies the settlements of one consumer. Runs the timeline while it waits for them.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::host::MemoryHost;
use crate::settle::Settled;

/// Most settlements that are applied under one lock.
const BATCH: usize = 256;

/// A consumer in a queue's list.
///
/// Dropping it removes the consumer, after its driver has ended, was aborted or has panicked.
pub(super) struct MemoryConsumer {
    pub(super) host: Arc<MemoryHost>,
    pub(super) id: u64,
    pub(super) consuming: watch::Sender<bool>,
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.consuming.send_replace(false);
        self.host.lock().unsubscribe(self.id, Instant::now());
    }
}

/// Runs until the consumer is stopped and all its deliveries are settled, or until the broker is
/// closed.
///
/// There is no separate task for the timeline, because only consumers can see that a message is due
/// or has expired.
pub(super) async fn drive(
    subscribed: MemoryConsumer,
    mut wanted: watch::Receiver<u16>,
    mut settled: mpsc::UnboundedReceiver<Settled>,
    stop: CancellationToken,
    closed: CancellationToken,
) {
    let MemoryConsumer { host, id, consuming } = &subscribed;
    let mut due = host.lock().due();
    let mut batch = Vec::with_capacity(BATCH);
    let mut stopped = false;
    loop {
        let wake = *due.borrow_and_update();
        let unsettled = tokio::select! {
            _ = settled.recv_many(&mut batch, BATCH) => {
                let (mut state, now) = (host.lock(), Instant::now());
                // This precedes requeues. Otherwise this consumer would get those messages again.
                if wanted.has_changed().unwrap_or(false) {
                    state.set_prefetch(*id, *wanted.borrow_and_update(), now);
                }
                state.settle(*id, batch.drain(..), now)
            }
            // A dropped consumer makes no further requests.
            _ = wanted.changed(), if wanted.has_changed().is_ok() => {
                host.lock().set_prefetch(*id, *wanted.borrow(), Instant::now());
                continue;
            }
            () = stop.cancelled(), if !stopped => {
                stopped = true;
                consuming.send_replace(false);
                host.lock().stop(*id)
            }
            () = closed.cancelled() => return,
            () = until(wake) => {
                host.lock().advance(Instant::now());
                continue;
            }
            // `subscribed` keeps the state and the sender alive.
            _ = due.changed() => continue,
        };
        if stopped && unsettled == 0 {
            return;
        }
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}
