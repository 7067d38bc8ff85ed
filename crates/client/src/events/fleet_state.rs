//! The state of a fleet, as far as its events tell it: Celery's `app.events.State`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use celeriac_protocol::{Value, shorten};
use serde::Serialize;

use super::reader::MonitorEvent;

/// Number of tasks that are kept unless another is chosen, as in Celery.
const TASKS: usize = 10_000;

/// Number of workers that are kept.
const WORKERS: usize = 5_000;

/// Longest text of a field that is kept, in bytes.
const LONGEST: usize = 4 << 10;

/// Celery's states, the more telling ones first. A state of a task's own comes after `FAILURE`.
const PRECEDENCE: [&str; 9] =
    ["SUCCESS", "FAILURE", "", "REVOKED", "STARTED", "RECEIVED", "REJECTED", "RETRY", "PENDING"];

/// The place of a state of a task's own in [`PRECEDENCE`].
const OWN: usize = 2;

/// Workers and tasks, as far as events have told of them.
///
/// It keeps the last 10,000 tasks. Its fields have the names and the values of Celery's
/// `app.events.State`.
#[derive(Debug)]
pub struct FleetState {
    workers: BTreeMap<String, FleetWorker>,
    tasks: HashMap<String, FleetTask>,
    /// The ids of all tasks, in the order of their first events.
    order: VecDeque<String>,
    most_tasks: usize,
    events: u64,
    received: u64,
}

/// A worker, as its last events show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetWorker {
    /// Its name.
    pub hostname: String,
    /// Id of its process.
    pub pid: Option<u64>,
    /// Seconds between its heartbeats.
    pub freq: f64,
    /// Number of tasks that run.
    pub active: Option<u64>,
    /// Number of attempts since it started.
    pub processed: Option<u64>,
    /// Load of its machine over 1, 5 and 15 minutes.
    pub loadavg: Option<Vec<f64>>,
    /// Name of its program.
    pub sw_ident: Option<String>,
    /// Version of its program.
    pub sw_ver: Option<String>,
    /// Its operating system.
    pub sw_sys: Option<String>,
    /// Arrival of its last event, in seconds since 1970. `None` after it went offline.
    pub last_heard: Option<f64>,
}

/// A task, as its events show it. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FleetTask {
    /// Task id.
    pub uuid: String,
    /// Task name, if its arrival was seen.
    pub name: Option<String>,
    /// Its state.
    pub state: String,
    /// Time at which it was sent.
    pub sent: Option<f64>,
    /// Time of its arrival at a worker.
    pub received: Option<f64>,
    /// Time of its start.
    pub started: Option<f64>,
    /// Time of its success.
    pub succeeded: Option<f64>,
    /// Time of its failure.
    pub failed: Option<f64>,
    /// Time of its last retry.
    pub retried: Option<f64>,
    /// Time of its revocation.
    pub revoked: Option<f64>,
    /// Time of its rejection.
    pub rejected: Option<f64>,
    /// Positional arguments, as Python prints them.
    pub args: Option<String>,
    /// Named arguments, as Python prints them.
    pub kwargs: Option<String>,
    /// Time before which it does not start, in ISO 8601.
    pub eta: Option<String>,
    /// Time after which it does not start, in ISO 8601.
    pub expires: Option<String>,
    /// Number of earlier attempts.
    pub retries: Option<u64>,
    /// The worker that has it.
    pub worker: Option<String>,
    /// The client that sent it.
    pub client: Option<String>,
    /// Its result, as Python prints it.
    pub result: Option<String>,
    /// Its error, as Python prints it.
    pub exception: Option<String>,
    /// Traceback of its error.
    pub traceback: Option<String>,
    /// Run time of its last attempt, in seconds.
    pub runtime: Option<f64>,
    /// The exchange that it was sent to.
    pub exchange: Option<String>,
    /// The routing key that it was sent with.
    pub routing_key: Option<String>,
    /// The first task of its workflow.
    pub root_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// Time of the event that gave it its state.
    pub timestamp: Option<f64>,
    /// Logical time of its last event.
    pub clock: u64,
}

impl Default for FleetState {
    fn default() -> Self {
        Self::new(TASKS)
    }
}

impl FleetState {
    /// Returns a state that keeps this many tasks.
    pub fn new(most_tasks: usize) -> Self {
        Self {
            workers: BTreeMap::new(),
            tasks: HashMap::new(),
            order: VecDeque::new(),
            most_tasks: most_tasks.max(1),
            events: 0,
            received: 0,
        }
    }

    /// Applies an event. Events may arrive twice, and in another order than they happened.
    pub fn apply(&mut self, event: &MonitorEvent) {
        self.events += 1;
        match event.kind.split_once('-') {
            Some(("worker", subject)) => self.apply_to_worker(subject, event),
            Some(("task", subject)) => self.apply_to_task(subject, event),
            _ => {}
        }
    }

    /// Returns the workers, by their names. A worker that went offline is not among them.
    pub fn workers(&self) -> &BTreeMap<String, FleetWorker> {
        &self.workers
    }

    /// Returns the workers that were heard of in time before `now`, in seconds since 1970.
    pub fn alive_workers(&self, now: f64) -> impl Iterator<Item = &FleetWorker> {
        self.workers.values().filter(move |worker| worker.is_alive(now))
    }

    /// Returns a task.
    pub fn task(&self, id: &str) -> Option<&FleetTask> {
        self.tasks.get(id)
    }

    /// Returns the tasks, in the order of their first events.
    pub fn tasks(&self) -> impl DoubleEndedIterator<Item = &FleetTask> {
        self.order.iter().filter_map(|id| self.tasks.get(id))
    }

    /// Returns the number of tasks in each state.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for task in self.tasks.values() {
            *counts.entry(task.state.as_str()).or_default() += 1;
        }
        counts
    }

    /// Returns the number of events.
    pub fn event_count(&self) -> u64 {
        self.events
    }

    /// Returns the number of arrivals of tasks at workers.
    pub fn task_count(&self) -> u64 {
        self.received
    }

    fn apply_to_worker(&mut self, subject: &str, event: &MonitorEvent) {
        if subject == "offline" {
            self.workers.remove(&event.hostname);
        } else if let Some(worker) = self.worker(&event.hostname) {
            worker.update(event);
        }
    }

    fn apply_to_task(&mut self, subject: &str, event: &MonitorEvent) {
        let Some(id) = event.uuid().filter(|id| !id.is_empty() && id.len() <= 255) else { return };
        let is_sent = subject == "sent";
        if !is_sent && let Some(worker) = self.worker(&event.hostname) {
            worker.last_heard = Some(event.local_received);
        }
        if subject == "received" {
            self.received += 1;
        }
        let task = self.tasks.entry(id.to_owned()).or_insert_with(|| {
            self.order.push_back(id.to_owned());
            FleetTask { uuid: id.to_owned(), state: "PENDING".to_owned(), ..FleetTask::default() }
        });
        let by = if is_sent { &mut task.client } else { &mut task.worker };
        *by = Some(event.hostname.clone());
        task.update(subject, event);
        while self.order.len() > self.most_tasks
            && let Some(oldest) = self.order.pop_front()
        {
            self.tasks.remove(&oldest);
        }
    }

    /// Returns a worker, or `None` if there are too many.
    fn worker(&mut self, hostname: &str) -> Option<&mut FleetWorker> {
        if !self.workers.contains_key(hostname) {
            if self.workers.len() >= WORKERS {
                return None;
            }
            self.workers.insert(hostname.to_owned(), FleetWorker::new(hostname));
        }
        self.workers.get_mut(hostname)
    }
}

impl FleetWorker {
    fn new(hostname: &str) -> Self {
        Self {
            hostname: hostname.to_owned(),
            pid: None,
            freq: 60.0,
            active: None,
            processed: None,
            loadavg: None,
            sw_ident: None,
            sw_ver: None,
            sw_sys: None,
            last_heard: None,
        }
    }

    /// Returns `true` if the worker was heard of within two of its heartbeats before `now`, in
    /// seconds since 1970.
    pub fn is_alive(&self, now: f64) -> bool {
        self.last_heard.is_some_and(|heard| now < heard + 2.0 * self.freq)
    }

    fn update(&mut self, event: &MonitorEvent) {
        let count = |name| event.fields.get(name).and_then(Value::as_u64);
        self.pid = count("pid").or(self.pid);
        self.freq = event.number("freq").filter(|freq| *freq > 0.0).unwrap_or(self.freq);
        self.active = count("active").or(self.active);
        self.processed = count("processed").or(self.processed);
        if let Some(Value::List(load)) = event.fields.get("loadavg") {
            let load = load.iter().take(3).filter_map(|number| match number {
                Value::Float(number) => Some(*number),
                Value::Int(number) => Some(*number as f64),
                _ => None,
            });
            self.loadavg = Some(load.collect());
        }
        for (field, name) in
            [(&mut self.sw_ident, "sw_ident"), (&mut self.sw_ver, "sw_ver"), (&mut self.sw_sys, "sw_sys")]
        {
            keep(field, event, name);
        }
        self.last_heard = Some(event.local_received);
    }
}

impl FleetTask {
    /// Returns `true` if the task has ended.
    pub fn is_ready(&self) -> bool {
        matches!(self.state.as_str(), "SUCCESS" | "FAILURE" | "REVOKED")
    }

    fn update(&mut self, subject: &str, event: &MonitorEvent) {
        let own = subject.to_uppercase();
        let (state, time) = match subject {
            "sent" => ("PENDING", Some(&mut self.sent)),
            "received" => ("RECEIVED", Some(&mut self.received)),
            "started" => ("STARTED", Some(&mut self.started)),
            "succeeded" => ("SUCCESS", Some(&mut self.succeeded)),
            "failed" => ("FAILURE", Some(&mut self.failed)),
            "retried" => ("RETRY", Some(&mut self.retried)),
            "revoked" => ("REVOKED", Some(&mut self.revoked)),
            "rejected" => ("REJECTED", Some(&mut self.rejected)),
            _ => (own.as_str(), None),
        };
        if let Some(time) = time {
            *time = Some(event.timestamp);
        }
        // An event that arrives after a later one adds what it knows, and leaves the state. After a
        // retry the states begin again.
        let is_late = state != "RETRY" && self.state != "RETRY" && precedence(state) > precedence(&self.state);
        if !is_late {
            state.clone_into(&mut self.state);
            self.timestamp = Some(event.timestamp);
        }
        for (field, name) in [
            (&mut self.name, "name"),
            (&mut self.args, "args"),
            (&mut self.kwargs, "kwargs"),
            (&mut self.eta, "eta"),
            (&mut self.expires, "expires"),
            (&mut self.root_id, "root_id"),
            (&mut self.parent_id, "parent_id"),
        ] {
            keep(field, event, name);
        }
        if let Some(retries) = event.fields.get("retries") {
            self.retries = retries.as_u64();
        }
        if is_late && state == "RECEIVED" {
            return;
        }
        self.clock = event.clock;
        for (field, name) in [
            (&mut self.result, "result"),
            (&mut self.exception, "exception"),
            (&mut self.traceback, "traceback"),
            (&mut self.exchange, "exchange"),
            (&mut self.routing_key, "routing_key"),
        ] {
            keep(field, event, name);
        }
        if event.fields.contains_key("runtime") {
            self.runtime = event.number("runtime");
        }
    }
}

/// Returns the place of a state: a lower one comes later in the life of a task.
fn precedence(state: &str) -> usize {
    PRECEDENCE.iter().position(|known| *known == state).unwrap_or(OWN)
}

/// Copies a text field, if the event has it.
fn keep(field: &mut Option<String>, event: &MonitorEvent, name: &str) {
    if let Some(value) = event.fields.get(name) {
        *field = value.as_str().map(|text| shorten(text, LONGEST).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, at: f64, fields: &[(&str, Value)]) -> MonitorEvent {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let (kind, hostname) = (kind.to_owned(), "w1".to_owned());
        MonitorEvent { kind, hostname, timestamp: at, clock: 1, local_received: at, fields }
    }

    fn task(kind: &str, at: f64) -> MonitorEvent {
        event(kind, at, &[("uuid", "a".into())])
    }

    #[test]
    fn a_worker_is_alive_for_two_heartbeats_and_while_its_tasks_are_told_of() {
        let mut state = FleetState::default();
        state.apply(&event("worker-online", 10.0, &[("freq", Value::Float(2.0)), ("active", Value::Int(3))]));
        assert_eq!((state.alive_workers(13.9).count(), state.alive_workers(14.0).count()), (1, 0));
        state.apply(&task("task-started", 12.0));
        assert_eq!((state.alive_workers(15.9).count(), state.workers()["w1"].active), (1, Some(3)));
        state.apply(&event("worker-offline", 13.0, &[]));
        assert!(state.workers().is_empty());
    }

    #[test]
    fn a_retry_begins_the_states_again() {
        let mut state = FleetState::default();
        for (kind, expected) in [
            ("task-sent", "PENDING"),
            ("task-received", "RECEIVED"),
            ("task-started", "STARTED"),
            ("task-retried", "RETRY"),
            ("task-received", "RECEIVED"),
            ("task-started", "STARTED"),
            ("task-succeeded", "SUCCESS"),
        ] {
            state.apply(&task(kind, 1.0));
            assert_eq!(state.task("a").unwrap().state, expected, "{kind}");
        }
        assert_eq!((state.counts(), state.task_count()), (BTreeMap::from([("SUCCESS", 1)]), 2));
    }

    #[test]
    fn an_event_that_is_late_adds_what_it_knows() {
        let mut state = FleetState::default();
        state.apply(&event("task-succeeded", 3.0, &[("uuid", "a".into()), ("result", "1".into())]));
        let fields = [("uuid", "a".into()), ("name", "add".into()), ("result", "2".into())];
        state.apply(&event("task-received", 1.0, &fields));
        let known = state.task("a").unwrap();
        assert_eq!((known.state.as_str(), known.name.as_deref(), known.timestamp), ("SUCCESS", Some("add"), Some(3.0)));
        assert_eq!((known.result.as_deref(), known.received), (Some("1"), Some(1.0)));
    }

    #[test]
    fn a_state_of_its_own_comes_between_a_start_and_an_end() {
        let mut state = FleetState::default();
        for (kind, expected) in [
            ("task-started", "STARTED"),
            ("task-uploading", "UPLOADING"),
            ("task-received", "UPLOADING"),
            ("task-failed", "FAILURE"),
        ] {
            state.apply(&task(kind, 1.0));
            assert_eq!(state.task("a").unwrap().state, expected, "{kind}");
        }
    }

    #[test]
    fn tasks_and_workers_are_bounded() {
        let mut state = FleetState::new(3);
        for number in 0..10 {
            state.apply(&event("task-received", 1.0, &[("uuid", format!("{number}").into())]));
        }
        let kept: Vec<_> = state.tasks().map(|task| task.uuid.as_str()).collect();
        assert_eq!(kept, ["7", "8", "9"]);
        for number in 0..WORKERS + 10 {
            state.apply(&MonitorEvent { hostname: format!("{number}"), ..event("worker-online", 1.0, &[]) });
        }
        assert_eq!((state.workers().len(), state.event_count()), (WORKERS, 10 + WORKERS as u64 + 10));
    }
}
