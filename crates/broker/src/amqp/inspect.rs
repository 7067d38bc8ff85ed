//! Looking without making: what differs, as far as AMQP alone shows it.
//!
//! What exists is declared again, on a channel that nothing else uses: that changes nothing, and RabbitMQ names the first
//! thing that differs. What does not exist is only asked for, since a declaration would make it.

use celeriac_topology::{Difference, Part, QueueKind, Remedy};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

use super::arguments::check;
use super::declare::{Declarer, MOST_DIFFERENCES, answered, close, declare, doing, refusal};
use super::publish::amqp;
use super::verify::Inequivalent;
use crate::error::Result;

/// What was found.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Each difference.
    pub differences: Vec<Difference>,
    /// What could not be looked into, and why.
    pub unseen: Vec<String>,
}

/// What a declaration of something that exists shows.
enum Shown {
    Alike,
    Differs(Inequivalent),
    /// This user may not declare it, not even as it is.
    Hidden,
}

impl Declarer {
    /// Which of these parts are not there. Bindings cannot be asked for.
    pub(super) async fn absent<'a>(&self, parts: &'a [Part]) -> Result<Vec<&'a Part>> {
        let mut absent = Vec::new();
        for part in parts {
            if !matches!(part, Part::Binding(_)) && !self.exists(part).await? {
                absent.push(part);
            }
        }
        Ok(absent)
    }

    /// What differs of these parts.
    pub(super) async fn inspect(&self, parts: &[Part]) -> Result<Inspection> {
        check(parts)?;
        let mut found = Inspection::default();
        let mut hidden = 0;
        for part in parts.iter().filter(|part| !matches!(part, Part::Binding(_))) {
            if !self.exists(part).await? {
                found.differences.push(Difference::missing(part));
            } else if !part.is_foreign() {
                hidden += usize::from(!self.compare(part, &mut found.differences).await?);
            }
        }
        let without = "and no management API answers (broker.management)";
        found.unseen.push(format!("bindings: AMQP does not list them, {without}"));
        found.unseen.push(format!("policies: AMQP does not know them, {without}"));
        if hidden > 0 {
            found.unseen.push(format!("arguments of {hidden} exchanges and queues: this user may not configure them"));
        }
        Ok(found)
    }

    /// Looks at one property after another: each is taken over as it is, so that RabbitMQ names the next. False when this
    /// user may not ask.
    async fn compare(&self, part: &Part, found: &mut Vec<Difference>) -> Result<bool> {
        let mut part = part.clone();
        for _ in 0..MOST_DIFFERENCES {
            let differs = match self.show(&part).await? {
                Shown::Alike => return Ok(true),
                Shown::Hidden => return Ok(false),
                Shown::Differs(differs) => differs,
            };
            found.push(difference(&part, &differs));
            if !take_over(&mut part, &differs) {
                return Ok(true);
            }
        }
        Ok(true)
    }

    async fn show(&self, part: &Part) -> Result<Shown> {
        let channel = self.channel().await?;
        let Err(error) = answered(declare(&channel, part)).await? else {
            close(channel).await;
            return Ok(Shown::Alike);
        };
        let Some(said) = refusal(&error) else { return Err(amqp(&doing(part), error)) };
        match said.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Ok(Shown::Hidden),
            _ => match Inequivalent::read(said.get_message().as_str()) {
                Some(differs) => Ok(Shown::Differs(differs)),
                None => Err(amqp(&doing(part), error)),
            },
        }
    }
}

fn difference(part: &Part, differs: &Inequivalent) -> Difference {
    let remedy = match part {
        Part::Queue(queue) => Remedy::of_queue(queue),
        _ => Remedy::ByHand("no exchange can be changed: delete it when nothing uses it, and apply again"),
    };
    let kind = |value: Option<String>| {
        let classic = || QueueKind::Classic.name().to_owned();
        if differs.argument == "x-queue-type" { Some(value.unwrap_or_else(classic)) } else { value }
    };
    let (broker, files) = (kind(differs.current.text()), kind(differs.received.text()));
    Difference::differs(&part.to_string(), &differs.argument, broker, files, remedy)
}

/// False when it cannot be read, so that what comes after it stays unknown.
fn take_over(part: &mut Part, differs: &Inequivalent) -> bool {
    let name = differs.argument.as_str();
    match part {
        Part::Queue(queue) if name == "durable" => {
            queue.durable = !queue.durable;
            true
        }
        Part::Queue(queue) if name.starts_with("x-") => differs.take_over(name, &mut queue.arguments),
        Part::Exchange(exchange) if name == "alternate-exchange" => differs.take_over(name, &mut exchange.arguments),
        _ => false,
    }
}
