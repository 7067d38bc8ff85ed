//! Counts of dead letters, by queue, reason and task.

use std::collections::BTreeMap;
use std::fmt::Write;

use celeriac_admin::{DeadLetter, Filter};
use celeriac_telemetry::clock;
use serde::Serialize;

use super::source::DeadLetterSource;
use crate::error::Error;
use crate::output;

/// Counts of matching dead letters.
#[derive(Debug, Default, Serialize)]
pub(super) struct Survey {
    /// All matching letters.
    pub(super) matching: u64,
    /// Those that have expired.
    pub(super) expired: u64,
    /// All messages of each dead-letter queue.
    standing: BTreeMap<String, u64>,
    queues: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
    tasks: BTreeMap<String, u64>,
}

impl Survey {
    /// Counts up to `at_most` matching letters, and passes each to `see`.
    pub(super) async fn take(
        source: &DeadLetterSource,
        filter: &Filter,
        at_most: u64,
        mut see: impl FnMut(DeadLetter),
    ) -> Result<Self, Error> {
        let mut survey = Self::default();
        for queue in &source.queues {
            let Some(mut search) = source.search(queue, filter).await? else { continue };
            survey.standing.insert(queue.clone(), search.ready());
            while survey.matching < at_most {
                let Some((letter, _)) = search.next().await.map_err(Error::Broker)? else { break };
                survey.count(&letter);
                see(letter);
            }
            search.close().await.map_err(Error::Broker)?;
        }
        Ok(survey)
    }

    fn count(&mut self, letter: &DeadLetter) {
        self.matching += 1;
        self.expired += u64::from(letter.expires.is_some_and(|expires| expires <= clock::now()));
        let task = letter.task.as_deref().unwrap_or("(unreadable)");
        for (counts, name) in
            [(&mut self.queues, letter.queue.as_str()), (&mut self.reasons, &letter.reason), (&mut self.tasks, task)]
        {
            match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => drop(counts.insert(name.to_owned(), 1)),
            }
        }
    }

    /// Returns the counts, one line for each kind.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (what, counts) in [("queue", &self.queues), ("reason", &self.reasons), ("task", &self.tasks)] {
            let counts: Vec<_> =
                counts.iter().map(|(name, count)| format!("{} {count}", output::one_line(name))).collect();
            let _ = writeln!(text, "{:<8} {}", format!("{what}:"), counts.join(", "));
        }
        text
    }

    /// Returns the number of messages in the dead-letter queues.
    pub(super) fn standing(&self) -> u64 {
        self.standing.values().sum()
    }
}
