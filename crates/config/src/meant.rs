//! Which variable was meant by one whose underscores are not where they should be: one stands in names, two between them.

use config::{Value, ValueKind};

use crate::environment::{PREFIX, SEPARATOR};

/// The variable of the key that these words make, however many underscores there are between them: `WORKER_TIME__LIMIT`
/// is `CELERIAC__WORKER__TIME_LIMIT`.
pub(crate) fn known_variable(known: &Value, words: &str) -> Option<String> {
    key_of(known, &words.to_uppercase()).map(|key| format!("{PREFIX}{key}"))
}

/// The same, also for a key that is not known, if only its section is.
pub(crate) fn variable_in_section(known: &Value, words: &str) -> Option<String> {
    known_variable(known, words).or_else(|| {
        let words = words.to_uppercase();
        let (section, rest) =
            values_of(known).find_map(|(name, _)| Some((name.to_uppercase(), after(&words, name)?)))?;
        Some(format!("{PREFIX}{section}{SEPARATOR}{rest}"))
    })
}

/// Whether these words begin with the name of a section, or of a value that lies in none.
pub(crate) fn names_section(known: &Value, words: &str) -> bool {
    let words = words.to_uppercase();
    values_of(known).any(|(name, _)| name.to_uppercase() == words || after(&words, name).is_some())
}

/// Whether these are the parts of a known key.
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

/// What follows a name and its underscores.
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
