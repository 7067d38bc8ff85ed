//! `events`: shows events of workers and tasks, or the state that follows from them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use celeriac_client::events::{EventStream, FleetState, FleetTask, FleetWorker, MonitorEvent};
use celeriac_telemetry::clock;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::args::EventsArgs;
use crate::error::Error;
use crate::program::Program;
use crate::{output, waiting};

/// Number of tasks whose names are kept for their later events, as in Celery.
const NAMES: usize = 4_095;

/// Number of tasks on the screen.
const SHOWN: usize = 20;

pub(crate) async fn run(program: &Program, args: &EventsArgs, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let broker = program.open_broker()?;
    let open = EventStream::open(Arc::clone(&broker), Arc::default());
    let mut stream = waiting::for_broker(&program.broker, broker.health(), open).await.map_err(Error::Broker)?;
    output::notice("receiving events; Ctrl-C ends");
    match args.state {
        true => show_state(&mut stream, args, json).await,
        false => dump(&mut stream, json).await,
    }
    stream.close().await;
    broker.close().await;
    Ok(())
}

/// Prints each event, until nothing reads them.
async fn dump(stream: &mut EventStream, json: bool) {
    let mut names = TaskNames::default();
    while let Some(event) = stream.next().await {
        let name = names.of(&event);
        if !output::line(json, &event, || line(&event, &name)) {
            return;
        }
    }
}

/// Prints the state again and again, until nothing reads it.
async fn show_state(stream: &mut EventStream, args: &EventsArgs, json: bool) {
    let mut fleet = FleetState::default();
    let mut beat = interval(args.every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = stream.next() => match event {
                Some(event) => fleet.apply(&event),
                None => return,
            },
            _ = beat.tick() => {
                let shown = ShownFleet::of(&fleet, clock::now().as_microsecond() as f64 / 1e6);
                if !output::refresh(json, &shown, || shown.screen()) {
                    return;
                }
            }
        }
    }
}

/// The names of the tasks that have arrived last.
#[derive(Debug, Default)]
struct TaskNames {
    names: HashMap<String, String>,
    order: VecDeque<String>,
}

impl TaskNames {
    /// Returns name, id and arguments of the event's task, as far as they are known.
    fn of(&mut self, event: &MonitorEvent) -> String {
        let Some(id) = event.uuid() else { return String::new() };
        if let Some(name) = event.text("name") {
            let shown = |field| event.text(field).unwrap_or("?");
            let name = format!("{name}({id}) args={} kwargs={}", shown("args"), shown("kwargs"));
            if self.names.insert(id.to_owned(), name).is_none() {
                self.order.push_back(id.to_owned());
            }
            while self.order.len() > NAMES
                && let Some(oldest) = self.order.pop_front()
            {
                self.names.remove(&oldest);
            }
        }
        self.names.get(id).cloned().unwrap_or_else(|| id.to_owned())
    }
}

/// Returns the line of an event, as `celery events --dump` prints it.
fn line(event: &MonitorEvent, name: &str) -> String {
    let kind = match event.kind.as_str() {
        "worker-online" => "started".to_owned(),
        "worker-heartbeat" => "heartbeat".to_owned(),
        "worker-offline" => "shutdown".to_owned(),
        kind => kind.replace('-', " "),
    };
    let is_own = |field: &str| {
        !matches!(field, "uuid" | "name" | "args" | "kwargs" | "pid" | "utcoffset" | "sw_ident" | "sw_ver" | "sw_sys")
    };
    let fields: BTreeMap<_, _> = event.fields.iter().filter(|(field, _)| is_own(field)).collect();
    let mut line = format!("{} [{}] {kind}", event.hostname, time(event.timestamp));
    if !name.is_empty() || !fields.is_empty() {
        line.push(':');
    }
    if !name.is_empty() {
        let _ = write!(line, " {name}");
    }
    for (field, value) in fields {
        let value = value.as_str().map_or_else(|| serde_json::json!(value).to_string(), str::to_owned);
        let _ = write!(line, " {field}={value}");
    }
    output::one_line(&line).into_owned()
}

/// Returns a time in seconds since 1970 as text.
fn time(seconds: f64) -> String {
    let time = jiff::Timestamp::from_microsecond((seconds * 1e6) as i64);
    time.map_or_else(|_| seconds.to_string(), |time| format!("{time:.3}"))
}

/// The state of a fleet, as it is printed.
#[derive(Debug, Serialize)]
struct ShownFleet<'a> {
    workers: Vec<ShownWorker<'a>>,
    states: BTreeMap<&'a str, usize>,
    /// The last tasks, the newest one first.
    tasks: Vec<&'a FleetTask>,
}

#[derive(Debug, Serialize)]
struct ShownWorker<'a> {
    alive: bool,
    #[serde(flatten)]
    worker: &'a FleetWorker,
}

impl<'a> ShownFleet<'a> {
    fn of(fleet: &'a FleetState, now: f64) -> Self {
        let workers = fleet.workers().values().map(|worker| ShownWorker { alive: worker.is_alive(now), worker });
        Self { workers: workers.collect(), states: fleet.counts(), tasks: fleet.tasks().rev().take(SHOWN).collect() }
    }

    fn screen(&self) -> String {
        let mut screen = String::from("worker                                    alive  active  processed\n");
        let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        for ShownWorker { alive, worker } in &self.workers {
            let (name, alive) = (output::one_line(&worker.hostname), if *alive { "yes" } else { "no" });
            let (active, processed) = (number(worker.active), number(worker.processed));
            let _ = writeln!(screen, "{name:40}  {alive:5}  {active:>6}  {processed:>9}");
        }
        let states: Vec<_> = self.states.iter().map(|(state, tasks)| format!("{state} {tasks}")).collect();
        let _ = writeln!(screen, "\ntasks: {}\n", output::one_line(&states.join(", ")));
        for task in &self.tasks {
            let (name, state) = (task.name.as_deref().unwrap_or("?"), &task.state);
            let line = format!("{state:10}  {}  {name}", task.uuid);
            let _ = writeln!(screen, "{}", output::one_line(&line));
        }
        screen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, fields: serde_json::Value) -> MonitorEvent {
        let fields = serde_json::from_value(fields).unwrap();
        let (kind, hostname) = (kind.to_owned(), "w1@box".to_owned());
        MonitorEvent { kind, hostname, timestamp: 1.5, clock: 1, local_received: 1.5, fields }
    }

    #[test]
    fn an_event_is_a_line_with_the_name_of_its_task() {
        let mut names = TaskNames::default();
        let arrived = serde_json::json!({"uuid": "a", "name": "add", "args": "(1,)", "kwargs": "{}", "retries": 0});
        let arrived = event("task-received", arrived);
        let name = names.of(&arrived);
        assert_eq!(
            line(&arrived, &name),
            "w1@box [1970-01-01T00:00:01.500Z] task received: add(a) args=(1,) kwargs={} retries=0"
        );
        let ended = event("task-succeeded", serde_json::json!({"uuid": "a", "result": "two\nlines", "runtime": 0.5}));
        let name = names.of(&ended);
        assert!(line(&ended, &name).ends_with("add(a) args=(1,) kwargs={} result=two\\nlines runtime=0.5"));
        let online = event("worker-online", serde_json::json!({"pid": 7, "freq": 2.0}));
        assert_eq!(line(&online, ""), "w1@box [1970-01-01T00:00:01.500Z] started: freq=2.0");
    }

    #[test]
    fn the_screen_has_workers_states_and_the_last_tasks() {
        let mut fleet = FleetState::default();
        fleet.apply(&event("worker-online", serde_json::json!({"freq": 2.0, "active": 3, "processed": 9})));
        fleet.apply(&event("task-received", serde_json::json!({"uuid": "a", "name": "add"})));
        let screen = ShownFleet::of(&fleet, 2.0).screen();
        assert!(screen.contains("w1@box                                    yes         3          9"), "{screen}");
        assert!(screen.contains("tasks: RECEIVED 1\n"), "{screen}");
        assert!(screen.contains("RECEIVED    a  add\n"), "{screen}");
    }
}
