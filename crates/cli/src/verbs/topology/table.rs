//! Differences as text.

use std::fmt::Write;

use celeriac_admin::plan::{Applied, Plan};
use celeriac_topology::{Difference, DifferenceKind, Remedy};

use crate::args::CommandName;

/// Number of missing delay levels above which one line stands for all of them.
const FOLDED: usize = 10;

/// Names that the texts need.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    /// Prefix of the delay levels.
    pub(super) delays: &'a str,
    /// The program, for remedies.
    pub(super) name: &'a CommandName,
}

impl Texts<'_> {
    /// Returns the differences, their remedies, and what could not be seen.
    pub(super) fn plan(self, plan: &Plan) -> String {
        let mut text = rows(&plan.differences, self.delays);
        if plan.differences.is_empty() {
            let _ = writeln!(text, "broker and files agree");
        }
        text.push_str(&remedies(&plan.differences, self.name));
        if !plan.unseen.is_empty() {
            let _ = writeln!(text, "\nnot seen:");
            for unseen in &plan.unseen {
                let _ = writeln!(text, "  {unseen}");
            }
        }
        text
    }

    /// Returns how many differences are resolved, and those that remain.
    pub(super) fn applied(self, applied: &Applied) -> String {
        let mut text = resolved(applied, self.delays);
        if !applied.left.is_empty() {
            let _ = writeln!(text, "\nremaining:\n{}", rows(&applied.left, self.delays).trim_end());
            text.push_str(&remedies(&applied.left, self.name));
        }
        text
    }
}

/// Returns how many differences are resolved. Counts as the plan shows them.
fn resolved(applied: &Applied, delays: &str) -> String {
    let levels = applied.done.iter().filter(|found| is_missing_level(found, delays)).count();
    let levels = if levels > FOLDED { levels } else { 0 };
    let mut text = match applied.done.len() - levels {
        0 if levels == 0 => "nothing to change\n".to_owned(),
        0 => String::new(),
        1 => "1 difference resolved\n".to_owned(),
        count => format!("{count} differences resolved\n"),
    };
    if levels > 0 {
        let _ = writeln!(text, "delay levels: {levels} exchanges, queues and bindings created");
    }
    let bindings = applied.unseen_bindings.len();
    if bindings > 0 {
        let of_levels = applied.unseen_bindings.iter().filter(|binding| is_level(&binding.to_string(), delays)).count();
        let _ = writeln!(
            text,
            "bindings: {bindings} declared, {of_levels} of them between delay levels; AMQP does not show which existed before"
        );
    }
    text
}

/// `delays` is the prefix of the delay levels.
fn rows(differences: &[Difference], delays: &str) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let absent = || "-".to_owned();
    let mut rows = vec![["", "OBJECT", "PROPERTY", "BROKER", "FILES"].map(str::to_owned)];
    let levels = differences.iter().filter(|found| is_missing_level(found, delays)).count();
    // A few are shown by name. A new broker lacks more than a hundred.
    let fold = levels > FOLDED;
    if fold {
        let all = format!("delay levels `{delays}_…`: {levels} exchanges, queues and bindings");
        rows.push([mark(DifferenceKind::Missing), all, String::new(), absent(), "declared".to_owned()]);
    }
    let shown = differences.iter().filter(|found| !(fold && is_missing_level(found, delays)));
    rows.extend(shown.cloned().map(|found| {
        let property = found.property.unwrap_or_default();
        [
            mark(found.kind),
            short(&found.object),
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

/// Returns true for a missing delay level, or a missing binding of one.
fn is_missing_level(found: &Difference, delays: &str) -> bool {
    found.kind == DifferenceKind::Missing && is_level(&found.object, delays)
}

/// Returns true for a delay level or a binding of one. `delays` is the prefix of their names.
pub(in crate::verbs) fn is_level(object: &str, delays: &str) -> bool {
    let first = object.split('`').nth(1).unwrap_or_default();
    first.strip_prefix(delays).is_some_and(|rest| rest.starts_with('_'))
}

/// Shortens the 28 stars in the binding keys of delays.
pub(in crate::verbs) fn short(object: &str) -> String {
    object.replace(&"*.".repeat(28), "*.…")
}

fn mark(kind: DifferenceKind) -> String {
    match kind {
        DifferenceKind::Missing => "missing",
        DifferenceKind::Differs => "differs",
        DifferenceKind::Extra => "extra",
    }
    .to_owned()
}

/// Returns each remedy once, with the number of differences that it resolves. `name` is that of the
/// program.
pub(in crate::verbs) fn remedies<'d>(
    differences: impl IntoIterator<Item = &'d Difference>,
    name: &CommandName,
) -> String {
    let mut ways: Vec<(String, usize)> = Vec::new();
    for found in differences {
        let way = match &found.remedy {
            Remedy::ByHand(_) => format!("{}: {}", found.object, found.remedy),
            remedy => name.in_text(&remedy.to_string()),
        };
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, count)) => *count += 1,
            None => ways.push((way, 1)),
        }
    }
    ways.iter().fold(String::new(), |mut text, (way, count)| {
        let begin = if text.is_empty() { "\nremedies:\n" } else { "" };
        let _ = writeln!(text, "{begin}{count:>5}  {way}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_delay_levels_are_one_line() {
        let missing = |object: String| Difference {
            kind: DifferenceKind::Missing,
            object,
            property: None,
            broker: None,
            files: Some("declared".to_owned()),
            remedy: Remedy::ByHand("make it"),
        };
        let levels = (0..28).map(|level| missing(format!("queue `celery_delayed_{level}`")));
        let stars = "*.".repeat(28);
        let bound = format!("binding of queue `mail` to exchange `celery_delayed_delivery` with key `{stars}mail`");
        let all: Vec<_> = levels.chain([missing(bound)]).collect();
        let text = rows(&all, "celery_delayed");
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let expected = [
            "OBJECT PROPERTY BROKER FILES",
            "missing delay levels `celery_delayed_…`: 28 exchanges, queues and bindings - declared",
            "missing binding of queue `mail` to exchange `celery_delayed_delivery` with key `*.…mail` - declared",
        ];
        assert_eq!(lines, expected);
        assert_eq!(rows(&all[..2], "celery_delayed").lines().count(), 3);
    }
}
