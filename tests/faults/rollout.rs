//! The manifests of `deploy/` are rolled out again and again, under a steady load, by the numbers
//! that they have: replicas, surge, probes, grace. Processes are the pods.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac_servers::PostgresSpec;
use celeriac_tests::manifests::{name, of_kind};
use celeriac_tests::{Bed, Book, Effects, Peer, Tally};
use serde_json::Value;
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;

use crate::kubelet::{End, Pod, PodTemplate, overlay, seconds, set_up};
use crate::ledger::{Ledger, is_long};
use crate::rolling_restarts::effect_exactly;

/// The Deployment that is rolled out.
const DEPLOYMENT: &str = "worker-default";

/// The queue of the tasks.
const QUEUE: &str = "celeriac";

/// Time that a worker has after its drain: docs/stopping.md.
const END: Duration = Duration::from_secs(1);

/// Longest time until a worker is not ready and consumes nothing after SIGTERM, and without a
/// consumer while it changes its prefetch.
const SILENT: Duration = Duration::from_secs(2);

/// Number and rate.
struct Plan {
    rollouts: usize,
    a_second: u64,
    /// Share of the tasks that take longer than 100 ms, up to `longest`.
    long: f64,
    longest: Duration,
}

impl Plan {
    fn chosen() -> Self {
        // A minute, in the time of the manifests, is longer than a drain.
        let longest = seconds(60);
        match is_long() {
            true => Self { rollouts: 25, a_second: 500, long: 0.01, longest },
            false => Self { rollouts: 2, a_second: 100, long: 0.25, longest },
        }
    }

    /// Returns the length of a task: 10 to 100 ms, or longer.
    fn milliseconds(&self) -> u64 {
        let (least, most) =
            if fastrand::f64() < self.long { (100.0, self.longest.as_secs_f64() * 1_000.0) } else { (10.0, 100.0_f64) };
        (least * (most / least).powf(fastrand::f64())) as u64
    }
}

/// The numbers by which a Deployment replaces its pods.
#[derive(Debug)]
struct Strategy {
    replicas: usize,
    surge: usize,
    unavailable: usize,
    min_ready: Duration,
}

impl Strategy {
    fn read(objects: &[Value]) -> Self {
        let is_ours = |object: &&Value| name(object) == DEPLOYMENT;
        let spec = &of_kind(objects, "Deployment").find(is_ours).unwrap()["spec"];
        // KEDA sets the replicas.
        let scaled = of_kind(objects, "ScaledObject").find(is_ours).map(|scaled| &scaled["spec"]["minReplicaCount"]);
        let replicas = spec["replicas"].as_u64().or_else(|| scaled?.as_u64()).unwrap_or(1);
        let update = &spec["strategy"]["rollingUpdate"];
        let replicas = usize::try_from(replicas).unwrap();
        Self {
            replicas,
            surge: share(&update["maxSurge"], replicas, true),
            unavailable: share(&update["maxUnavailable"], replicas, false),
            min_ready: seconds(spec["minReadySeconds"].as_u64().unwrap_or(0)),
        }
    }
}

/// Returns a number of pods, or a percentage of the replicas, which is 25 by default.
fn share(value: &Value, replicas: usize, up: bool) -> usize {
    if let Some(number) = value.as_u64() {
        return usize::try_from(number).unwrap();
    }
    let percent = value.as_str().map_or(25, |text| text.trim_end_matches('%').parse::<usize>().unwrap());
    let whole = replicas * percent;
    if up { whole.div_ceil(100) } else { whole / 100 }
}

/// The pods of a Deployment.
struct Cluster {
    template: Arc<PodTemplate>,
    strategy: Strategy,
    peer: Peer,
    beat: Interval,
    /// Running pods, each with its revision. Some of them stop.
    pods: Vec<(usize, Pod)>,
    ends: Vec<End>,
    started: usize,
    compared: usize,
    /// Consumers that the queue has at any time: none before the end of the first rollout.
    least: usize,
}

impl Cluster {
    /// Replaces the pods by those of another revision, as the controller of Deployments does.
    async fn roll_out(&mut self, revision: usize) {
        while !self.step(revision).await {}
        self.least = self.strategy.replicas.saturating_sub(self.strategy.unavailable);
    }

    /// Goes as far as the numbers allow. Returns `true` if all pods are of this revision and
    /// available.
    async fn step(&mut self, revision: usize) -> bool {
        self.beat.tick().await;
        self.compare_with_the_broker().await;
        self.take_ended().await;
        let Strategy { replicas, surge, unavailable, min_ready } = self.strategy;
        let staying = self.pods.iter().filter(|(_, pod)| pod.seen().stopped.is_none());
        let is_available = |pod: &Pod| pod.seen().ready.is_some_and(|since| since.elapsed() >= min_ready);
        let available = staying.clone().filter(|(_, pod)| is_available(pod)).count();
        let (new, old): (Vec<_>, Vec<_>) = staying.partition(|(of, _)| *of == revision);
        if old.is_empty() && new.len() == replicas && available == replicas {
            return true;
        }
        let spare = available.saturating_sub(replicas.saturating_sub(unavailable));
        old.iter().take(spare).for_each(|(_, pod)| pod.stop());
        let room = (replicas + surge).saturating_sub(new.len() + old.len());
        for _ in 0..room.min(replicas - new.len()) {
            self.started += 1;
            let pod = self.template.start(&format!("{DEPLOYMENT}-{revision}-{}", self.started));
            self.pods.push((revision, pod));
        }
        false
    }

    /// Compares what the pods say of themselves with the consumers of their queue.
    async fn compare_with_the_broker(&mut self) {
        let is_stopped = |pod: &Pod| pod.seen().stopped.is_some_and(|since| since.elapsed() > SILENT);
        let stopped = self.pods.iter().filter(|(_, pod)| is_stopped(pod)).map(|(_, pod)| pod.name.clone());
        let stopped: BTreeSet<_> = stopped.collect();
        let begun = Instant::now();
        loop {
            let before = self.ready().await;
            // A quorum queue counts a cancelled consumer as long as it has messages.
            let consumers = self.peer.consumers(QUEUE).await.unwrap() as usize;
            let after = self.ready().await;
            assert!(before.is_disjoint(&stopped), "of the ready {before:?}, {stopped:?} were stopped");
            let ready: BTreeSet<_> = before.intersection(&after).collect();
            if consumers >= ready.len().max(self.least) {
                self.compared += ready.len();
                return;
            }
            // A consumer subscribes anew to change its prefetch.
            let least = self.least;
            assert!(begun.elapsed() < SILENT, "{consumers} consumers, at least {least}; ready are {ready:?}");
            self.beat.tick().await;
        }
    }

    /// Returns the names of the pods that say that they are ready.
    async fn ready(&self) -> BTreeSet<String> {
        let mut ready = BTreeSet::new();
        for (_, pod) in &self.pods {
            if pod.says_ready().await {
                ready.insert(pod.name.clone());
            }
        }
        ready
    }

    async fn take_ended(&mut self) {
        while let Some(at) = self.pods.iter().position(|(_, pod)| pod.has_ended()) {
            let (_, pod) = self.pods.remove(at);
            self.ends.push(pod.end().await);
        }
    }

    async fn stop(mut self) -> (Vec<End>, usize) {
        self.pods.iter().for_each(|(_, pod)| pod.stop());
        for (_, pod) in self.pods.drain(..) {
            self.ends.push(pod.end().await);
        }
        (self.ends, self.compared)
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn rollouts_lose_nothing_double_nothing_and_end_in_time(bed: Bed) {
    let plan = Plan::chosen();
    // Every running task has a connection, also those of pods that stop.
    let spec = PostgresSpec { settings: vec!["max_connections=600".to_owned()], ..PostgresSpec::default() };
    let start = || is_long().then(|| spec.start().unwrap());
    let postgres = tokio::task::spawn_blocking(start).await.unwrap();
    let url = postgres.as_ref().map_or_else(|| bed.database_url(), |postgres| postgres.url());
    let own = [
        ("CELERIAC__RESULTS__URL", url.clone()),
        ("CELERIAC__RESULTS__POOL__MAX_TRANSACTIONS", "64".to_owned()),
        // Longer than the longest task, which says nothing to the database while it runs.
        ("CELERIAC__RESULTS__TRANSACTION_IDLE_TIMEOUT", "2m".to_owned()),
    ];
    let objects = overlay("production").await;
    set_up(&objects, &bed, &own).await;
    let mut cluster = Cluster {
        template: PodTemplate::read(&objects, DEPLOYMENT, &bed, &own),
        strategy: Strategy::read(&objects),
        peer: bed.peer().await,
        beat: interval(Duration::from_millis(100)),
        pods: Vec::new(),
        ends: Vec::new(),
        started: 0,
        compared: 0,
        least: 0,
    };
    let (drain, replicas) = (cluster.template.drain, cluster.strategy.replicas);
    let book = Book::open(&url, Effects::Written).await;
    let client = bed.client(bed.program([]).set("results.url", url)).await;
    cluster.roll_out(0).await;

    let mut ledger = Ledger::default();
    let done = CancellationToken::new();
    let roll_out = async {
        for revision in 1..=plan.rollouts {
            cluster.roll_out(revision).await;
        }
        done.cancel();
        cluster
    };
    let tasks = |_| effect_exactly(plan.milliseconds());
    let (cluster, _) = tokio::join!(roll_out, ledger.issue_each_steadily(&client, plan.a_second, &done, tasks));
    book.issue(&ledger.ids()).await;
    book.settle(Duration::from_secs(120)).await;
    let peer = bed.peer().await;
    let (ends, compared) = cluster.stop().await;

    let tally = book.tally().await;
    let replaced = ends.iter().filter(|end| end.took.is_some()).count() - replicas;
    let longest = ends.iter().filter_map(|end| end.took).max().unwrap();
    let interrupted: u64 = ends.iter().map(End::interrupted).sum();
    println!(
        "rollouts {}, pods replaced {replaced}: {tally}, interrupted {interrupted}, longest drain {:.2} s of {:.1} s; \
         ready pods compared with the broker's consumers {compared} times",
        plan.rollouts,
        longest.as_secs_f64(),
        drain.as_secs_f64()
    );
    for end in &ends {
        assert!(!end.was_killed, "killed: {}", end.output);
        assert!(end.took.is_some_and(|took| took <= drain + END), "{:?}: {}", end.took, end.output);
        assert_eq!((end.seen.unlive, end.seen.unready), (0, 0), "{}", end.output);
    }
    assert_eq!(ledger.unconfirmed, 0, "{:?}", ledger.trouble);
    assert_eq!(tally, Tally { issued: tally.issued, effected: tally.issued, missing: 0, doubled: 0 });
    assert_eq!(replaced, plan.rollouts * replicas);
    assert!(interrupted > 0, "a drain that interrupts nothing proves nothing");
    assert_eq!((peer.ready(QUEUE).await, peer.ready("celeriac.dead").await), (0, 0));
    client.close().await;
}
