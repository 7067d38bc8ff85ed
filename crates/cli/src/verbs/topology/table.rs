//! Differences as a table for people.

use std::fmt::Write;

use celeriac_broker::plan::{Applied, Plan};
use celeriac_broker::topology::{Difference, DifferenceKind, Remedy};

/// What differs, what ends it, and what could not be seen.
pub(super) fn plan(plan: &Plan) -> String {
    let mut text = rows(&plan.differences);
    if plan.differences.is_empty() {
        let _ = writeln!(text, "broker and files do not differ");
    }
    text.push_str(&ways_out(&plan.differences));
    if !plan.unseen.is_empty() {
        let _ = writeln!(text, "\nnot seen:");
        for unseen in &plan.unseen {
            let _ = writeln!(text, "  {unseen}");
        }
    }
    text
}

/// What was done, and what still differs.
pub(super) fn applied(applied: &Applied) -> String {
    let mut text = match applied.done.len() {
        0 => "nothing to change\n".to_owned(),
        1 => "1 difference ended\n".to_owned(),
        count => format!("{count} differences ended\n"),
    };
    if applied.unseen_bindings > 0 {
        let count = applied.unseen_bindings;
        let _ = writeln!(text, "{count} bindings made where they were not there, which AMQP does not show");
    }
    if !applied.left.is_empty() {
        let _ = writeln!(text, "\nstill there:\n{}", rows(&applied.left).trim_end());
        text.push_str(&ways_out(&applied.left));
    }
    text
}

fn rows(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let absent = || "-".to_owned();
    let mut rows = vec![["", "OBJECT", "PROPERTY", "BROKER", "FILES"].map(str::to_owned)];
    rows.extend(differences.iter().cloned().map(|found| {
        let property = found.property.unwrap_or_default();
        [
            mark(found.kind),
            found.object,
            property,
            found.broker.unwrap_or_else(absent),
            found.files.unwrap_or_else(absent),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    rows.iter().fold(String::new(), |mut text, [mark, object, property, broker, files]| {
        let [a, b, c, d] = widths;
        let line = format!("{mark:<a$}  {object:<b$}  {property:<c$}  {broker:<d$}  {files}");
        let _ = writeln!(text, "{}", line.trim_end());
        text
    })
}

fn mark(kind: DifferenceKind) -> String {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Differs => "differs",
        DifferenceKind::Extra => "extra",
    }
    .to_owned()
}

/// Each remedy once, with how many differences it ends.
fn ways_out(differences: &[Difference]) -> String {
    let mut ways: Vec<(String, usize)> = Vec::new();
    for found in differences {
        let way = match &found.remedy {
            Remedy::ByHand(_) => format!("{}: {}", found.object, found.remedy),
            remedy => remedy.to_string(),
        };
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, count)) => *count += 1,
            None => ways.push((way, 1)),
        }
    }
    ways.iter().fold(String::new(), |mut text, (way, count)| {
        let begin = if text.is_empty() { "\n" } else { "" };
        let _ = writeln!(text, "{begin}{count:>4} by: {way}");
        text
    })
}
