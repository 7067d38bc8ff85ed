//! A worker as a pod without a cluster: a process, polled and stopped as a kubelet does, by the
//! numbers of its manifest.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac::settings::{Origins, Settings};
use celeriac_config::Environment;
use celeriac_tests::manifests::{arguments, objects, pods, rendered, variables, write_configuration};
use celeriac_tests::probe::page;
use celeriac_tests::wait::PATIENCE;
use celeriac_tests::{Bed, Program};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ledger::is_long;

/// Returns the number by which times of the manifests are divided. The short forms run in a tenth
/// of the time.
fn pace() -> u32 {
    if is_long() { 1 } else { 10 }
}

/// Returns a time of a manifest, as long as it lasts in this form of the tests.
pub(crate) fn seconds(number: u64) -> Duration {
    Duration::from_secs(number) / pace()
}

/// A probe of a container.
#[derive(Debug)]
struct Probe {
    path: String,
    delay: Duration,
    period: Duration,
    timeout: Duration,
    failures: u64,
    successes: u64,
}

impl Probe {
    /// Reads a probe. What it leaves out has the default of Kubernetes.
    fn read(probe: &Value) -> Self {
        let number = |key: &str, default| probe[key].as_u64().unwrap_or(default);
        Self {
            path: probe["httpGet"]["path"].as_str().unwrap().to_owned(),
            delay: seconds(number("initialDelaySeconds", 0)),
            period: seconds(number("periodSeconds", 10)),
            // The machine answers no sooner in the short form.
            timeout: Duration::from_secs(number("timeoutSeconds", 1)),
            failures: number("failureThreshold", 3),
            successes: number("successThreshold", 1),
        }
    }

    /// Returns the longest time until a change shows.
    fn patience(&self) -> Duration {
        let times = u32::try_from(self.failures.max(self.successes)).unwrap();
        (self.period + self.timeout) * times
    }

    /// Polls for ever, and reports each change. A threshold of answers changes the state.
    async fn poll(&self, socket: &Path, begins: bool, changed: impl Fn(bool)) -> Infallible {
        let mut beat = interval_at(tokio::time::Instant::now() + self.delay, self.period);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut state, mut contrary) = (begins, 0);
        loop {
            beat.tick().await;
            let answer = timeout(self.timeout, page(socket, &self.path)).await;
            let succeeds = matches!(answer, Ok(Some((200..400, _))));
            contrary = if succeeds == state { 0 } else { contrary + 1 };
            if contrary >= if state { self.failures } else { self.successes } {
                (state, contrary) = (succeeds, 0);
                changed(state);
            }
        }
    }
}

/// A container of the overlay, on the servers of a test.
#[derive(Debug)]
pub(crate) struct Container {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// Holds the configuration and the sockets.
    folder: TempDir,
}

impl Container {
    fn read(objects: &[Value], pod: &Value, bed: &Bed, own: &[(&str, String)]) -> Self {
        let (folder, container) = (TempDir::new().unwrap(), &pod["containers"][0]);
        write_configuration(objects, pod, folder.path());
        let configuration = folder.path().display().to_string();
        let arguments = arguments(container).into_iter().map(|word| word.replace("/etc/celeriac", &configuration));
        let ours = bed.environment_with(own).into_iter().map(|(name, value)| (name.to_owned(), value));
        // A later variable of the same name replaces an earlier one.
        let variables = variables(objects, container).into_iter().chain(ours).collect();
        Self { arguments: arguments.collect(), variables, folder }
    }

    fn start(&self, own: &[(&str, String)]) -> Program {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        let given = self.variables.iter().map(|(name, value)| (name.as_str(), value.clone()));
        Program::start(&arguments, &given.chain(own.iter().cloned()).collect::<Vec<_>>())
    }
}

/// The pods of a Deployment.
#[derive(Debug)]
pub(crate) struct PodTemplate {
    container: Container,
    readiness: Probe,
    liveness: Probe,
    grace: Duration,
    /// Time that running tasks get: `worker.drain_timeout`.
    pub(crate) drain: Duration,
}

/// A running pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    seen: watch::Receiver<Seen>,
    stop: CancellationToken,
    end: JoinHandle<End>,
}

/// The state of a pod, as the kubelet sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Time since which it is ready.
    pub(crate) ready: Option<Instant>,
    /// Time of SIGTERM.
    pub(crate) stopped: Option<Instant>,
    /// Times at which the pod was no longer ready, without a stop.
    pub(crate) unready: u32,
    /// Times at which the kubelet would have restarted it.
    pub(crate) unlive: u32,
}

/// The end of a pod.
#[derive(Debug)]
pub(crate) struct End {
    /// Time since SIGTERM, or `None` if it has ended before.
    pub(crate) took: Option<Duration>,
    /// It was still there after its grace.
    pub(crate) was_killed: bool,
    pub(crate) seen: Seen,
    pub(crate) output: String,
}

impl End {
    /// Returns the number of tasks that the stop has interrupted.
    pub(crate) fn interrupted(&self) -> u64 {
        let mut lines = self.output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = lines.rfind(|line| line["message"] == "worker stopped");
        last.and_then(|line| line["interrupted"].as_u64()).unwrap_or_else(|| panic!("no end in {}", self.output))
    }
}

/// Returns the rendered objects of an overlay.
pub(crate) async fn overlay(name: &'static str) -> Vec<Value> {
    tokio::task::spawn_blocking(|| objects(&rendered(name))).await.unwrap()
}

fn pod<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    pods(objects).into_iter().find(|(name, ..)| name == wanted).unwrap().1
}

/// Runs the Job that makes tables and topology. `own` are variables of the test.
pub(crate) async fn set_up(objects: &[Value], bed: &Bed, own: &[(&str, String)]) {
    let container = Container::read(objects, pod(objects, "Job setup"), bed, own);
    let mut program = container.start(&[]);
    assert_eq!(program.exit_code(PATIENCE).await, 0, "{}", program.output());
}

impl PodTemplate {
    /// Reads the template of a Deployment. `own` are variables of the test.
    pub(crate) fn read(objects: &[Value], deployment: &str, bed: &Bed, own: &[(&str, String)]) -> Arc<Self> {
        let pod = pod(objects, &format!("Deployment {deployment}"));
        let (container, manifest) = (Container::read(objects, pod, bed, own), &pod["containers"][0]);
        assert!(manifest["lifecycle"].is_null(), "this kubelet runs no hooks");
        let environment = Environment::new(container.variables.clone());
        let directory = Some(container.folder.path().into());
        let settings = Settings::load(&Origins { directory, environment, ..Origins::default() }).unwrap();
        Arc::new(Self {
            readiness: Probe::read(&manifest["readinessProbe"]),
            liveness: Probe::read(&manifest["livenessProbe"]),
            grace: seconds(pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(30)),
            drain: settings.options.worker.drain_timeout / pace(),
            container,
        })
    }

    /// Returns the longest time until the loss of readiness shows.
    pub(crate) fn shown(&self) -> Duration {
        self.readiness.patience()
    }

    /// Returns the time after which the kubelet restarts a pod that never says that it is live.
    pub(crate) fn killed(&self) -> Duration {
        self.liveness.period * u32::try_from(self.liveness.failures).unwrap()
    }

    /// Starts a pod.
    pub(crate) fn start(self: &Arc<Self>, name: &str) -> Pod {
        let socket = self.container.folder.path().join(format!("{name}.sock"));
        let program = self.container.start(&[
            ("CELERIAC__TELEMETRY__LISTEN", format!("unix:{}", socket.display())),
            ("CELERIAC__WORKER__NAME", name.to_owned()),
            ("CELERIAC__WORKER__DRAIN_TIMEOUT", format!("{}ms", self.drain.as_millis())),
        ]);
        let (status, seen) = watch::channel(Seen::default());
        let stop = CancellationToken::new();
        let end = Arc::clone(self).run(program, socket.clone(), status, stop.clone());
        Pod { name: name.to_owned(), socket, seen, stop, end: TaskTracker::new().spawn(end) }
    }

    /// Polls a process until its end, and stops it on request.
    async fn run(
        self: Arc<Self>,
        mut program: Program,
        socket: PathBuf,
        status: watch::Sender<Seen>,
        stop: CancellationToken,
    ) -> End {
        let readiness = self.readiness.poll(&socket, false, |ready| {
            status.send_modify(|seen| {
                seen.unready += u32::from(!ready && seen.stopped.is_none());
                seen.ready = ready.then(Instant::now);
            });
        });
        let liveness = self.liveness.poll(&socket, true, |live| {
            status.send_modify(|seen| seen.unlive += u32::from(!live && seen.stopped.is_none()));
        });
        let life = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = program.ended() => return (None, false, program.rest().await),
            }
            program.signal("TERM");
            let begun = Instant::now();
            status.send_modify(|seen| seen.stopped = Some(begun));
            let was_killed = timeout(self.grace, program.ended()).await.is_err();
            let (took, output) = (begun.elapsed(), program.output());
            if was_killed {
                program.kill().await;
                return (Some(took), true, output);
            }
            (Some(took), false, program.rest().await)
        };
        let (took, was_killed, output) = tokio::select! {
            end = life => end,
            never = readiness => match never {},
            never = liveness => match never {},
        };
        End { took, was_killed, seen: status.borrow().clone(), output }
    }
}

impl Pod {
    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_finished()
    }

    /// Sends SIGTERM, and SIGKILL after the grace.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn end(self) -> End {
        self.end.await.unwrap()
    }

    /// Waits until the kubelet has seen this of it.
    pub(crate) async fn sees(&self, patience: Duration, what: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        match timeout(patience, seen.wait_for(what)).await {
            Ok(Ok(seen)) => seen.clone(),
            _ => panic!("{}: {:?} after {patience:?}", self.name, self.seen()),
        }
    }

    /// Returns `true` if `/readyz` says that it is ready.
    pub(crate) async fn says_ready(&self) -> bool {
        matches!(page(&self.socket, "/readyz").await, Some((200, _)))
    }
}
