//! The consumers of a worker: those of its start, and those that are added while it runs.

use std::sync::Arc;

use celeriac_broker::Consumer;
use celeriac_telemetry::Supervisor;
use celeriac_topology::Prefetch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::intake::consumer::QueueConsumer;
use crate::intake::tuning::PrefetchTuner;
use crate::runtime::WorkerRuntime;
use crate::worker::health::WorkerHealth;

/// The consumers of a worker.
pub(super) struct ConsumerSet {
    runtime: Arc<WorkerRuntime>,
    health: Arc<WorkerHealth>,
    supervisor: Supervisor,
    pub(super) tuner: Arc<PrefetchTuner>,
    /// The attempts that they begin.
    pub(super) attempts: TaskTracker,
    /// Ends all of them.
    stop: CancellationToken,
    running: JoinSet<Option<Consumer>>,
    closing: JoinSet<()>,
}

impl ConsumerSet {
    pub(super) fn new(
        runtime: &Arc<WorkerRuntime>,
        health: &Arc<WorkerHealth>,
        supervisor: &Supervisor,
        stop: CancellationToken,
    ) -> Self {
        Self {
            runtime: Arc::clone(runtime),
            health: Arc::clone(health),
            supervisor: supervisor.clone(),
            tuner: Arc::new(PrefetchTuner::new(Arc::clone(&runtime.slots))),
            attempts: TaskTracker::new(),
            stop,
            running: JoinSet::new(),
            closing: JoinSet::new(),
        }
    }

    /// Starts to take the deliveries of a consumer. Its end before its stop is a failure.
    pub(super) fn add(&mut self, consumer: Consumer, prefetch: Prefetch) {
        let stop = self.stop.child_token();
        let auto = prefetch == Prefetch::Auto;
        let (meter, bound) = self.tuner.watch(consumer.queue(), consumer.prefetch(), auto);
        let most = if auto || consumer.prefetch() == 0 { usize::MAX } else { usize::from(consumer.prefetch()) };
        let observed = self.health.consumed(&consumer, &meter);
        let looks = self.runtime.live.enter(consumer.queue(), &meter, &stop);
        let service = format!("consumer of queue `{}`", consumer.queue());
        let (runtime, health, attempts) = (Arc::clone(&self.runtime), Arc::clone(&self.health), self.attempts.clone());
        let (tuner, all) = (Arc::clone(&self.tuner), self.stop.clone());
        let own = Arc::clone(&meter);
        let queue = QueueConsumer::new(Arc::clone(&runtime), consumer, meter, bound, attempts, most, looks);
        let supervisor = self.supervisor.clone();
        self.running.spawn(async move {
            let consumer = supervisor.watch(&service, queue.run(stop.clone())).await;
            observed.end();
            tuner.forget(&own);
            runtime.live.leave(&own);
            let consumer = consumer?;
            match (stop.is_cancelled(), all.is_cancelled()) {
                (false, _) => supervisor.failed(&service, "the consumer ended"),
                // It was cancelled by itself, so the worker is ready without it.
                (true, false) => health.unwanted(&observed),
                (true, true) => {}
            }
            Some(consumer)
        });
    }

    /// Closes consumers that end while the worker runs.
    pub(super) async fn tend(&mut self) {
        loop {
            while self.closing.try_join_next().is_some() {}
            match self.running.join_next().await {
                Some(Ok(Some(consumer))) => drop(self.closing.spawn(consumer.close())),
                Some(_) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Waits until each consumer has taken its last delivery, and starts to close it.
    pub(super) async fn ended(&mut self) {
        while let Some(ended) = self.running.join_next().await {
            if let Ok(Some(consumer)) = ended {
                self.closing.spawn(consumer.close());
            }
        }
    }

    /// Waits until the last settlements are confirmed.
    pub(super) async fn closed(&mut self) {
        while self.closing.join_next().await.is_some() {}
    }
}
