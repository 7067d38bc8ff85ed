//! `queues`: how it stands with every queue.

use std::fmt::Write;
use std::time::Duration;

use celeriac_broker::{Broker, Depth, Topology};
use celeriac_config::{duration, nearest};
use celeriac_protocol::headers::names;
use celeriac_protocol::sent_at;
use celeriac_telemetry::clock;
use jiff::Timestamp;
use serde::Serialize;

use crate::application::Program;
use crate::args::QueuesArgs;
use crate::error::Error;
use crate::output;

/// A queue, as people and machines want to read of it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    purpose: Purpose,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Nothing when it does not exist.
    ready: Option<u32>,
    consumers: Option<u32>,
    /// Its first message, where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Head>,
    /// What a person should know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'static str>,
}

/// The first message of a queue.
#[derive(Debug, Serialize)]
struct Head {
    /// Task name, where the message says one.
    task: Option<String>,
    /// When it was sent, where its id tells.
    sent_at: Option<Timestamp>,
    /// How long ago that was.
    age: Option<String>,
}

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    Work,
    Log,
    DeadLetters,
}

pub(crate) async fn run<P: Program>(program: &P, args: &QueuesArgs, json: bool) -> Result<(), Error> {
    let topology = program.routes().topology();
    let wanted = wanted(&topology, &args.queues)?;
    let broker = celeriac_broker::connect(program.broker_options(), "celeriac queues").map_err(Error::Broker)?;
    let shown = look(&*broker, wanted, args.head).await;
    broker.close().await;
    let shown = shown?;
    output::answer(json, &shown, || table(&shown));
    Ok(())
}

/// The queues to show: each with its dead-letter queue behind it, which several may share.
fn wanted(topology: &Topology, chosen: &[String]) -> Result<Vec<(String, Purpose, &'static str)>, Error> {
    for queue in chosen {
        if !topology.queues.contains_key(queue) {
            let near = nearest(queue, topology.queues.keys().map(String::as_str));
            let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return Err(Error::Data { what: format!("queue `{queue}`"), reason: format!("is not declared{near}") });
        }
    }
    let dead_letters = topology.dead_letter_queues();
    let mut wanted: Vec<(String, Purpose, &'static str)> = Vec::new();
    for (name, options) in &topology.queues {
        if !chosen.is_empty() && !chosen.contains(name) {
            continue;
        }
        // Of a broadcast every worker has a queue of its own, which the broker knows by the worker's name alone.
        if !options.broadcast {
            let purpose = if topology.work_queues().any(|work| work == name) { Purpose::Work } else { Purpose::Log };
            wanted.push((name.clone(), purpose, options.kind.name()));
        }
        if let Some(dead) = topology.dead_letter_queue(name)
            && !wanted.iter().any(|(known, _, _)| *known == dead)
        {
            let kind = dead_letters.get(&dead).map_or("", |kind| kind.name());
            wanted.push((dead, Purpose::DeadLetters, kind));
        }
    }
    Ok(wanted)
}

async fn look(
    broker: &dyn Broker,
    wanted: Vec<(String, Purpose, &'static str)>,
    head: bool,
) -> Result<Vec<Shown>, Error> {
    let mut shown = Vec::with_capacity(wanted.len());
    for (name, purpose, kind) in wanted {
        let depth = broker.depth(&name).await.map_err(Error::Broker)?;
        let (ready, consumers) = (depth.map(|depth| depth.ready), depth.map(|depth| depth.consumers));
        let head = match ready {
            // Whoever reads a log begins at its end: it has no head.
            Some(1..) if head && purpose != Purpose::Log => first(broker, &name).await?,
            _ => None,
        };
        shown.push(Shown { name, purpose, kind, ready, consumers, head, remark: remark(purpose, depth) });
    }
    Ok(shown)
}

/// Looks at the first message of a queue, and gives it back.
async fn first(broker: &dyn Broker, queue: &str) -> Result<Option<Head>, Error> {
    let mut browser = broker.browse(queue).await.map_err(Error::Broker)?;
    let found = browser.next().await.map_err(Error::Broker)?;
    browser.close().await.map_err(Error::Broker)?;
    Ok(found.map(|found| {
        let headers = &found.message.headers;
        let sent_at = headers.text(names::ID).and_then(sent_at);
        let age = sent_at.and_then(|sent_at| Duration::try_from(clock::now().duration_since(sent_at)).ok());
        let age = age.map(|age| duration::format(Duration::from_secs(age.as_secs())));
        Head { task: headers.text(names::TASK).map(str::to_owned), sent_at, age }
    }))
}

fn remark(purpose: Purpose, depth: Option<Depth>) -> Option<&'static str> {
    match (purpose, depth) {
        (_, None) => Some("does not exist"),
        (Purpose::Work, Some(Depth { ready: 1.., consumers: 0 })) => Some("messages wait, and nobody consumes"),
        (Purpose::Work, Some(Depth { consumers: 0, .. })) => Some("nobody consumes"),
        (Purpose::DeadLetters, Some(Depth { ready: 1.., .. })) => Some("dead letters"),
        (_, Some(_)) => None,
    }
}

fn table(shown: &[Shown]) -> String {
    let width = shown.iter().map(|queue| queue.name.len()).max().unwrap_or_default().max(5);
    let mut text = format!("{:<width$}  {:<8} {:>9} {:>9}\n", "queue", "type", "ready", "consumers");
    let count = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    for Shown { name, kind, ready, consumers, head, remark, .. } in shown {
        let (ready, consumers) = (count(*ready), count(*consumers));
        let head = head.as_ref().map(Head::text).unwrap_or_default();
        let said: Vec<_> =
            [head.as_str(), remark.unwrap_or_default()].into_iter().filter(|said| !said.is_empty()).collect();
        let line = format!("{name:<width$}  {kind:<8} {ready:>9} {consumers:>9}  {}", said.join("; "));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

impl Head {
    fn text(&self) -> String {
        let task = self.task.as_deref().unwrap_or("a message that names no task");
        match &self.age {
            Some(age) => format!("{task} first, sent {age} ago"),
            None => format!("{task} first"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_should_know_is_said() {
        let depth = |ready, consumers| Some(Depth { ready, consumers });
        let cases = [
            (Purpose::Work, None, Some("does not exist")),
            (Purpose::Work, depth(0, 0), Some("nobody consumes")),
            (Purpose::Work, depth(3, 0), Some("messages wait, and nobody consumes")),
            (Purpose::Work, depth(3, 1), None),
            (Purpose::Log, depth(3, 0), None),
            (Purpose::DeadLetters, depth(0, 0), None),
            (Purpose::DeadLetters, depth(2, 0), Some("dead letters")),
        ];
        for (purpose, depth, expected) in cases {
            assert_eq!(remark(purpose, depth), expected, "{purpose:?} {depth:?}");
        }
    }
}
