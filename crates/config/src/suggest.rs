//! Suggestions for misspelt words and variables.

use std::fmt::Display;

use config::{Value, ValueKind};

use crate::environment::{PREFIX, SEPARATOR};

/// Writes a suggestion for the end of a message: ``, did you mean `mail`?``. Empty without one.
pub fn did_you_mean(nearest: Option<impl Display>) -> String {
    nearest.map(|nearest| format!(", did you mean `{nearest}`?")).unwrap_or_default()
}

/// Returns the candidate most like `word`, if it is similar enough. The one candidate that ends
/// with it, as `task_routes` with `routes`, is the most similar.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let is_end = |candidate: &&str| candidate.strip_suffix(word).is_some_and(|start| start.ends_with('_'));
    let mut longer = candidates.iter().copied().filter(is_end);
    if let (Some(only), None) = (longer.next(), longer.next())
        && !word.is_empty()
    {
        return Some(only);
    }
    candidates
        .into_iter()
        .map(|candidate| (likeness(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Returns the candidate that differs from `word` by at most two typing errors. For names that may
/// belong to other programs: a common beginning means nothing there.
pub fn closest_typo<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= SLIPS && slips * 3 <= candidate.chars().count())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

const ALIKE: f64 = 0.75;

const SLIPS: usize = 2;

/// Measures likeness. A common beginning counts, and so do one or two typing errors, as in `ulr`
/// for `url`.
fn likeness(word: &str, candidate: &str) -> f64 {
    let likeness = strsim::jaro_winkler(word, candidate);
    let (shorter, longer) = match (word.chars().count(), candidate.chars().count()) {
        (one, other) if one < other => (one, other),
        (one, other) => (other, one),
    };
    let slips = strsim::osa_distance(word, candidate);
    if slips < shorter && slips <= (longer / 3).max(1) { likeness.max(ALIKE) } else { likeness }
}

/// Returns the variable of the key with these words, whatever the number of underscores:
/// `WORKER_TIME__LIMIT` is `CELERIAC__WORKER__TIME_LIMIT`.
pub(crate) fn known_variable(known: &Value, words: &str) -> Option<String> {
    key_of(known, &words.to_uppercase()).map(|key| format!("{PREFIX}{key}"))
}

/// Returns the same, also for an unknown key in a known section.
pub(crate) fn variable_in_section(known: &Value, words: &str) -> Option<String> {
    known_variable(known, words).or_else(|| {
        let words = words.to_uppercase();
        let (section, rest) =
            values_of(known).find_map(|(name, _)| Some((name.to_uppercase(), after(&words, name)?)))?;
        Some(format!("{PREFIX}{section}{SEPARATOR}{rest}"))
    })
}

/// Returns true if these words begin with the name of a section, or of a value outside sections.
pub(crate) fn names_section(known: &Value, words: &str) -> bool {
    let words = words.to_uppercase();
    values_of(known).any(|(name, _)| name.to_uppercase() == words || after(&words, name).is_some())
}

/// Returns true if these are the parts of a known key.
pub(crate) fn is_there(known: &Value, parts: &[&str]) -> bool {
    let child =
        |value, part: &&str| values_of(value).find(|(name, _)| name.eq_ignore_ascii_case(part)).map(|(_, child)| child);
    parts.iter().try_fold(known, child).is_some()
}

fn key_of(known: &Value, words: &str) -> Option<String> {
    values_of(known).find_map(|(name, value)| {
        let name = name.to_uppercase();
        if words == name {
            // A section has no value of its own.
            return values_of(value).next().is_none().then_some(name);
        }
        let inside = key_of(value, after(words, &name)?)?;
        Some(format!("{name}{SEPARATOR}{inside}"))
    })
}

/// Returns the rest after a name and its underscores.
fn after<'a>(words: &'a str, name: &str) -> Option<&'a str> {
    let rest = words.strip_prefix(&name.to_uppercase())?;
    let rest = rest.strip_prefix('_')?.trim_start_matches('_');
    (!rest.is_empty()).then_some(rest)
}

fn values_of(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let section = match &value.kind {
        ValueKind::Table(section) => Some(section),
        _ => None,
    };
    section.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_somebody_else_is_no_slip() {
        for (word, expected) in [
            ("shop.payy", Some("shop.pay")),
            ("shpo.pay", Some("shop.pay")),
            ("shop.chrage", Some("shop.charge")),
            ("shop.pack", Some("shop.pay")),
            ("shop.mail", None),
            ("python.charge", None),
            ("ab", None),
            ("", None),
        ] {
            assert_eq!(closest_typo(word, ["shop.pay", "shop.charge", "a"]), expected, "{word}");
        }
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        for (word, expected) in [
            ("prefetchh", Some("prefetch")),
            ("prefecth", Some("prefetch")),
            ("concurency", Some("concurrency")),
            ("concur", Some("concurrency")),
            ("qeue", Some("queue")),
            ("ulr", Some("url")),
            ("routes", Some("task_routes")),
            ("xyzzy", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(
                nearest(word, ["queue", "url", "prefetch", "concurrency", "drain", "results", "task_routes"]),
                expected,
                "{word}"
            );
        }
    }
}
