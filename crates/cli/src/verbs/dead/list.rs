//! `dead list`: prints a line for each dead letter, and counts by queue, reason and task.

use std::fmt::Write;

use celeriac_admin::DeadLetter;
use celeriac_telemetry::clock;
use serde::Serialize;

use super::source::{DeadLetterSource, check_reason};
use super::survey::Survey;
use crate::args::ListDeadArgs;
use crate::error::Error;
use crate::output;

#[derive(Serialize)]
struct DeadLetterList {
    letters: Vec<DeadLetter>,
    counts: Survey,
}

pub(super) async fn run(source: &DeadLetterSource, args: &ListDeadArgs, json: bool) -> Result<(), Error> {
    let filter = source.filter(args.filter.wanted(), clock::now())?;
    let mut letters = Vec::new();
    let counts = Survey::take(source, &filter, args.limit, |letter| letters.push(letter)).await?;
    check_reason(args.filter.reason.as_deref(), counts.matching)?;
    let listed = DeadLetterList { letters, counts };
    output::answer(json, &listed, || listed.text(args.limit));
    Ok(())
}

impl DeadLetterList {
    fn text(&self, limit: u64) -> String {
        let standing = self.counts.standing();
        if self.letters.is_empty() {
            return format!("0 of {standing} dead letters match");
        }
        let mut text = String::new();
        for letter in &self.letters {
            let _ = writeln!(text, "{}", line(letter));
        }
        let _ = writeln!(text, "\n{} of {standing} dead letters match", self.letters.len());
        if self.counts.matching >= limit {
            let _ = writeln!(text, "limited to {limit}; there may be more (--limit)");
        }
        text.push_str(&self.counts.text());
        text
    }
}

fn line(letter: &DeadLetter) -> String {
    let at = letter.at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    let error = letter.error.as_deref().and_then(|error| error.lines().next()).unwrap_or_default();
    let task = letter.task.as_deref().unwrap_or("(unreadable)");
    let id = letter.id.as_deref().unwrap_or("no id");
    let [queue, reason, task, id, error] = [&*letter.queue, &letter.reason, task, id, error].map(output::one_line);
    format!("{at:<20} {queue:<16} {reason:<15} {task}[{id}] {error}")
}
