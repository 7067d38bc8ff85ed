//! `queues`: depth, rates and consumers of each queue.

use std::fmt::Write;
use std::time::Duration;

use celeriac_broker::{Broker, BrokerOptions, Depth};
use celeriac_config::duration;
use celeriac_protocol::headers::names;
use celeriac_protocol::sent_at;
use celeriac_telemetry::clock;
use celeriac_topology::{QueueFacts, Topology};
use jiff::Timestamp;
use serde::Serialize;

use crate::args::QueuesArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::not_declared;
use crate::waiting;

/// A row of the table.
#[derive(Debug, Serialize)]
struct QueueStatus {
    name: String,
    purpose: QueuePurpose,
    /// Type on the broker, or in the configuration if the broker does not show it.
    #[serde(rename = "type")]
    kind: String,
    /// `None` if the queue does not exist.
    ready: Option<u32>,
    consumers: Option<u32>,
    /// Facts of the management API.
    #[serde(flatten)]
    more: Option<ManagementFacts>,
    /// First message, with `--head`.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<Head>,
    /// Remark, such as a missing consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<&'static str>,
}

/// Facts of the management API about a queue, a few seconds old.
#[derive(Debug, Serialize)]
struct ManagementFacts {
    /// Messages that are delivered and not acknowledged.
    unacked: u64,
    /// Published messages per second.
    published: f64,
    /// Delivered messages per second.
    delivered: f64,
    /// Acknowledged messages per second.
    acknowledged: f64,
    /// Time in which the ready messages of a work queue drain at this rate. `None` if nothing was
    /// acknowledged while messages wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_wait_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// The first message of a queue.
#[derive(Debug, Serialize)]
struct Head {
    /// Task name, if the message has one.
    task: Option<String>,
    /// Time it was sent, if its id holds it.
    sent_at: Option<Timestamp>,
    /// Age.
    age: Option<String>,
}

/// Purpose of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum QueuePurpose {
    Work,
    Log,
    DeadLetters,
}

pub(crate) async fn run(program: &Program, args: &QueuesArgs, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let topology = program.routes.topology();
    let wanted = wanted(&topology, &args.queues)?;
    let broker = celeriac_broker::connect(&program.broker, "celeriac queues").map_err(Error::Broker)?;
    let seen = async {
        let facts = facts(&program.broker).await?;
        Ok::<_, Error>((facts, look(&*broker, wanted, args.head).await?))
    };
    let seen = waiting::for_broker(&program.broker, broker.health(), seen).await;
    broker.close().await;
    let (facts, mut shown) = seen?;
    for queue in &mut shown {
        queue.add(facts.as_deref().unwrap_or_default());
    }
    output::answer(json, &shown, || table(&shown));
    if let (Err(reason), false) = (facts, json) {
        output::notice(&format!("no rates or unacknowledged messages: {reason}; set broker.management_url"));
    }
    Ok(())
}

/// Returns the facts of the management API, or the reason why there is none.
async fn facts(options: &BrokerOptions) -> Result<Result<Vec<QueueFacts>, String>, Error> {
    let Some(management) = celeriac_admin::management(options) else {
        return Ok(Err("the address of the management API is not known".to_owned()));
    };
    match management.overview().await.map_err(Error::Admin)? {
        Some(_) => management.queues().await.map(Ok).map_err(Error::Admin),
        None => Ok(Err(format!("the management API does not answer this user at {}", management.shown()))),
    }
}

/// Returns the queues to show, each followed by its dead-letter queue, which several may share.
fn wanted(topology: &Topology, chosen: &[String]) -> Result<Vec<(String, QueuePurpose, &'static str)>, Error> {
    for queue in chosen {
        if !topology.queues.contains_key(queue) {
            return Err(Error::Data { what: "--queues".to_owned(), reason: not_declared(topology, queue) });
        }
    }
    let dead_letters = topology.dead_letter_queues();
    let mut wanted: Vec<(String, QueuePurpose, &'static str)> = Vec::new();
    for (name, options) in &topology.queues {
        if !chosen.is_empty() && !chosen.contains(name) {
            continue;
        }
        // Each worker has its own queue of a broadcast, named after the worker.
        if !options.broadcast {
            let purpose =
                if topology.work_queues().any(|work| work == name) { QueuePurpose::Work } else { QueuePurpose::Log };
            wanted.push((name.clone(), purpose, options.kind.name()));
        }
        if let Some(dead) = topology.dead_letter_queue(name)
            && !wanted.iter().any(|(known, _, _)| *known == dead)
        {
            let kind = dead_letters.get(&dead).map_or("", |kind| kind.name());
            wanted.push((dead, QueuePurpose::DeadLetters, kind));
        }
    }
    Ok(wanted)
}

async fn look(
    broker: &dyn Broker,
    wanted: Vec<(String, QueuePurpose, &'static str)>,
    head: bool,
) -> Result<Vec<QueueStatus>, Error> {
    let mut shown = Vec::with_capacity(wanted.len());
    for (name, purpose, kind) in wanted {
        let depth = broker.depth(&name).await.map_err(Error::Broker)?;
        let (ready, consumers) = (depth.map(|depth| depth.ready), depth.map(|depth| depth.consumers));
        let head = match ready {
            // Readers of a stream start at its end, so it has no head.
            Some(1..) if head && purpose != QueuePurpose::Log => first(broker, &name).await?,
            _ => None,
        };
        let (kind, remark) = (kind.to_owned(), remark(purpose, depth));
        shown.push(QueueStatus { name, purpose, kind, ready, consumers, more: None, head, remark });
    }
    Ok(shown)
}

/// Reads the first message of a queue, and returns the message to the queue.
async fn first(broker: &dyn Broker, queue: &str) -> Result<Option<Head>, Error> {
    let mut browser = broker.browse(queue).await.map_err(Error::Broker)?;
    let found = browser.next().await.map_err(Error::Broker)?;
    browser.close().await.map_err(Error::Broker)?;
    Ok(found.map(|found| {
        let headers = &found.message.headers;
        let sent_at = headers.text(names::ID).and_then(sent_at);
        let age = sent_at.and_then(|sent_at| Duration::try_from(clock::now().duration_since(sent_at)).ok());
        let age = age.map(duration::approximate);
        Head { task: headers.text(names::TASK).map(str::to_owned), sent_at, age }
    }))
}

impl QueueStatus {
    fn add(&mut self, facts: &[QueueFacts]) {
        let Some(facts) = facts.iter().find(|facts| facts.name == self.name) else { return };
        self.kind.clone_from(&facts.kind);
        self.more = Some(ManagementFacts {
            unacked: facts.unacked,
            published: facts.rates.publish,
            delivered: facts.rates.deliver,
            acknowledged: facts.rates.ack,
            expected_wait_seconds: expected_wait(self.purpose, self.ready, facts.rates.ack),
            policy: facts.policy.clone(),
            leader: facts.leader.clone(),
            state: facts.state.clone(),
        });
    }
}

fn expected_wait(purpose: QueuePurpose, ready: Option<u32>, acknowledged: f64) -> Option<f64> {
    match (purpose, ready?) {
        (QueuePurpose::Work, 0) => Some(0.0),
        (QueuePurpose::Work, ready) if acknowledged > 0.0 => Some(f64::from(ready) / acknowledged),
        _ => None,
    }
}

fn remark(purpose: QueuePurpose, depth: Option<Depth>) -> Option<&'static str> {
    match (purpose, depth) {
        (_, None) => Some("does not exist"),
        (QueuePurpose::Work, Some(Depth { ready: 1.., consumers: 0 })) => Some("no consumers, messages waiting"),
        (QueuePurpose::Work, Some(Depth { consumers: 0, .. })) => Some("no consumers"),
        (QueuePurpose::DeadLetters, Some(Depth { ready: 1.., .. })) => Some("dead letters"),
        (_, Some(_)) => None,
    }
}

fn table(shown: &[QueueStatus]) -> String {
    let width = shown.iter().map(|queue| queue.name.len()).max().unwrap_or_default().max(5);
    let more = shown.iter().any(|queue| queue.more.is_some());
    let mut text = format!("{:<width$}  {:<8} {:>9} {:>9}", "queue", "type", "ready", "consumers");
    if more {
        let _ = write!(text, " {:>9} {:>8} {:>8} {:>8} {:>6}", "unacked", "in/s", "out/s", "done/s", "wait");
    }
    text.push('\n');
    let count = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    for queue in shown {
        let (ready, consumers) = (count(queue.ready), count(queue.consumers));
        let mut line = format!("{:<width$}  {:<8} {ready:>9} {consumers:>9}", queue.name, queue.kind);
        match &queue.more {
            Some(ManagementFacts {
                unacked, published, delivered, acknowledged, expected_wait_seconds: wait, ..
            }) => {
                let wait = wait.and_then(|wait| Duration::try_from_secs_f64(wait).ok());
                let wait = wait.map_or_else(|| "-".to_owned(), duration::approximate);
                let _ = write!(line, " {unacked:>9} {published:>8.1} {delivered:>8.1} {acknowledged:>8.1} {wait:>6}");
            }
            None if more => line.push_str(&" ".repeat(44)),
            None => {}
        }
        let head = queue.head.as_ref().map(Head::text);
        let said: Vec<_> = head.as_deref().into_iter().chain(queue.remark).collect();
        let _ = writeln!(text, "{}", format!("{line}  {}", said.join("; ")).trim_end());
    }
    text
}

impl Head {
    fn text(&self) -> String {
        let task = output::one_line(self.task.as_deref().unwrap_or("(no task name)"));
        match &self.age {
            Some(age) => format!("first: {task}, sent {age} ago"),
            None => format!("first: {task}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_expected_where_messages_are_acknowledged() {
        assert_eq!(expected_wait(QueuePurpose::Work, Some(90), 4.5), Some(20.0));
        assert_eq!(expected_wait(QueuePurpose::Work, Some(0), 0.0), Some(0.0));
        assert_eq!(expected_wait(QueuePurpose::Work, Some(1), 0.0), None);
        assert_eq!(expected_wait(QueuePurpose::Work, None, 1.0), None);
        assert_eq!(expected_wait(QueuePurpose::DeadLetters, Some(9), 1.0), None);
    }

    #[test]
    fn missing_queues_and_consumers_are_remarked() {
        let depth = |ready, consumers| Some(Depth { ready, consumers });
        let cases = [
            (QueuePurpose::Work, None, Some("does not exist")),
            (QueuePurpose::Work, depth(0, 0), Some("no consumers")),
            (QueuePurpose::Work, depth(3, 0), Some("no consumers, messages waiting")),
            (QueuePurpose::Work, depth(3, 1), None),
            (QueuePurpose::Log, depth(3, 0), None),
            (QueuePurpose::DeadLetters, depth(0, 0), None),
            (QueuePurpose::DeadLetters, depth(2, 0), Some("dead letters")),
        ];
        for (purpose, depth, expected) in cases {
            assert_eq!(remark(purpose, depth), expected, "{purpose:?} {depth:?}");
        }
    }
}
