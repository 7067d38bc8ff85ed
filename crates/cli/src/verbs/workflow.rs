//! `workflow`: shows the tree of a workflow.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use celeriac_protocol::{Failure, TaskState};
use celeriac_results::{Backend, WorkflowChord, WorkflowTask};
use jiff::Timestamp;
use serde::Serialize;

use crate::args::{WorkflowShowArgs, WorkflowVerb};
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::result::nothing;
use crate::waiting;

/// A workflow, as printed.
#[derive(Debug, Serialize)]
struct ShownWorkflow {
    tasks: Vec<ShownTask>,
    chords: Vec<ShownChord>,
    /// True if there are more tasks than the limit.
    cut: bool,
}

#[derive(Debug, Serialize)]
struct ShownTask {
    depth: u32,
    id: String,
    parent_id: Option<String>,
    group_id: Option<String>,
    name: String,
    state: TaskState,
    attempts: u32,
    error: Option<Failure>,
    sent_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    runtime_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ShownChord {
    id: String,
    size: u64,
    succeeded: u64,
    failed: u64,
    waiting: u64,
    body_id: Option<String>,
    body_state: Option<TaskState>,
    fired_at: Option<Timestamp>,
    error: Option<String>,
}

pub(crate) async fn run(program: &Program, verb: WorkflowVerb, json: bool) -> Result<(), Error> {
    let WorkflowVerb::Show(args) = verb;
    let client = waiting::for_client(program).await?;
    let shown = match client.results() {
        Some(store) => show(program, &**store, &args, json).await,
        None => Err(celeriac_client::Error::NoResults.into()),
    };
    client.close().await;
    shown
}

async fn show(program: &Program, store: &dyn Backend, args: &WorkflowShowArgs, json: bool) -> Result<(), Error> {
    let mut tasks = store.workflow(&args.id, args.limit.saturating_add(1)).await.map_err(Error::Results)?;
    let cut = tasks.len() > args.limit as usize;
    tasks.truncate(args.limit as usize);
    let groups: BTreeSet<_> = tasks.iter().filter_map(|task| task.group_id.clone()).chain([args.id.clone()]).collect();
    let groups: Vec<_> = groups.into_iter().collect();
    let mut chords = Vec::new();
    for chord in store.chords(&groups).await.map_err(Error::Results)? {
        let body_id = body_id(&chord.body);
        let body = match &body_id {
            Some(id) => store.find(id).await.map_err(Error::Results)?,
            None => None,
        };
        chords.push(ShownChord::of(chord, body_id, body.map(|body| body.state)));
    }
    if tasks.is_empty() && chords.is_empty() {
        return Err(Error::Data { what: format!("workflow {}", args.id), reason: nothing(program) });
    }
    let shown = ShownWorkflow { tasks: tasks.into_iter().map(ShownTask::from).collect(), chords, cut };
    output::answer(json, &shown, || if args.mermaid { shown.mermaid() } else { shown.text() });
    Ok(())
}

/// Returns the id of the last task of a body.
fn body_id(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body.get("options")?.get("task_id")?.as_str()?.to_owned())
}

impl From<WorkflowTask> for ShownTask {
    fn from(task: WorkflowTask) -> Self {
        Self {
            depth: task.depth,
            id: task.id,
            parent_id: task.parent_id,
            group_id: task.group_id,
            name: task.name,
            state: task.state,
            attempts: task.attempts,
            error: task.failure,
            sent_at: task.sent_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
            runtime_seconds: task.runtime,
        }
    }
}

impl ShownChord {
    fn of(chord: WorkflowChord, body_id: Option<String>, body_state: Option<TaskState>) -> Self {
        let WorkflowChord { id, size, ok, failed, body: _, fired_at, error } = chord;
        let waiting = size.saturating_sub(ok.saturating_add(failed));
        Self { id, size, succeeded: ok, failed, waiting, body_id, body_state, fired_at, error }
    }

    fn text(&self) -> String {
        let Self { id, size, succeeded, failed, waiting, body_id, body_state, fired_at, error } = self;
        let mut line = format!("chord {}: ", output::one_line(id));
        let _ = write!(line, "{size} members, {succeeded} succeeded, {failed} failed, {waiting} waiting");
        match (fired_at, error) {
            (None, _) => line.push_str("; open"),
            (Some(at), None) => drop(write!(line, "; decided at {at}")),
            (Some(at), Some(error)) => drop(write!(line, "; ended at {at}: {}", output::one_line(error))),
        }
        if let Some(body) = body_id {
            let state = body_state.map_or_else(|| "not sent".to_owned(), |state| state.to_string());
            let _ = write!(line, "; body {} {state}", output::one_line(body));
        }
        line
    }
}

impl ShownTask {
    fn text(&self) -> String {
        let Self { depth, id, name, state, attempts, error, started_at, finished_at, runtime_seconds, .. } = self;
        let indent = "  ".repeat(*depth as usize);
        let mut line = format!("{indent}{} {} {state}", output::one_line(id), output::one_line(name));
        if *attempts > 1 {
            let _ = write!(line, " after {attempts} attempts");
        }
        match (finished_at.or(*started_at), runtime_seconds) {
            (Some(at), Some(runtime)) => drop(write!(line, " at {at} in {runtime:.3} s")),
            (Some(at), None) => drop(write!(line, " at {at}")),
            (None, _) => {}
        }
        if let Some(error) = error {
            let _ = write!(line, ": {}", output::one_line(&error.to_string()));
        }
        line
    }
}

impl ShownWorkflow {
    fn text(&self) -> String {
        let mut lines: Vec<_> = self.tasks.iter().map(ShownTask::text).collect();
        lines.extend(self.cut.then(|| "… more tasks: see --limit".to_owned()));
        lines.extend(self.chords.iter().map(ShownChord::text));
        lines.join("\n")
    }

    /// Returns a flowchart. Its nodes are numbered, because an id may be any text.
    fn mermaid(&self) -> String {
        let numbers: HashMap<_, _> = self.tasks.iter().enumerate().map(|(number, task)| (&*task.id, number)).collect();
        let mut chart = String::from("flowchart TD\n");
        for (number, task) in self.tasks.iter().enumerate() {
            let ShownTask { name, state, .. } = task;
            let _ = writeln!(chart, "  t{number}[\"{}<br/>{state}\"]", label(name));
            if let Some(parent) = task.parent_id.as_deref().and_then(|parent| numbers.get(parent)) {
                let _ = writeln!(chart, "  t{parent} --> t{number}");
            }
        }
        for (number, chord) in self.chords.iter().enumerate() {
            let ShownChord { id, size, succeeded, failed, body_id, .. } = chord;
            let _ = writeln!(chart, "  c{number}{{{{\"chord<br/>{succeeded} of {size}, {failed} failed\"}}}}");
            for (member, task) in self.tasks.iter().enumerate() {
                let is_body = body_id.as_deref() == Some(&*task.id);
                if is_body {
                    let _ = writeln!(chart, "  c{number} --> t{member}");
                } else if task.group_id.as_deref() == Some(id) {
                    let _ = writeln!(chart, "  t{member} -.-> c{number}");
                }
            }
        }
        chart
    }
}

/// Returns a text that Mermaid shows as it is.
fn label(text: &str) -> String {
    output::one_line(text).replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str, depth: u32, parent: Option<&str>, group: Option<&str>) -> ShownTask {
        ShownTask {
            depth,
            id: id.to_owned(),
            parent_id: parent.map(str::to_owned),
            group_id: group.map(str::to_owned),
            name: "t.\"add\"".to_owned(),
            state: TaskState::Success,
            attempts: 2,
            error: None,
            sent_at: None,
            started_at: None,
            finished_at: Some("2026-11-20T09:40:17Z".parse().unwrap()),
            runtime_seconds: Some(0.25),
        }
    }

    fn workflow() -> ShownWorkflow {
        let chord = ShownChord {
            id: "g".to_owned(),
            size: 3,
            succeeded: 1,
            failed: 0,
            waiting: 2,
            body_id: Some("body".to_owned()),
            body_state: None,
            fired_at: None,
            error: None,
        };
        let tasks = vec![task("first", 0, None, None), task("member", 1, Some("first"), Some("g"))];
        ShownWorkflow { tasks, chords: vec![chord], cut: true }
    }

    #[test]
    fn a_workflow_is_shown_as_a_tree_with_its_chords() {
        let text = "first t.\"add\" SUCCESS after 2 attempts at 2026-11-20T09:40:17Z in 0.250 s\n  \
                    member t.\"add\" SUCCESS after 2 attempts at 2026-11-20T09:40:17Z in 0.250 s\n\
                    … more tasks: see --limit\n\
                    chord g: 3 members, 1 succeeded, 0 failed, 2 waiting; open; body body not sent";
        assert_eq!(workflow().text(), text);
    }

    #[test]
    fn a_workflow_is_shown_as_a_flowchart() {
        let chart = "flowchart TD\n  t0[\"t.&quot;add&quot;<br/>SUCCESS\"]\n  t1[\"t.&quot;add&quot;<br/>SUCCESS\"]\n  \
                     t0 --> t1\n  c0{{\"chord<br/>1 of 3, 0 failed\"}}\n  t1 -.-> c0\n";
        assert_eq!(workflow().mermaid(), chart);
    }
}
