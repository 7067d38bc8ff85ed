//! Serde's errors, in the words of a configuration.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::quote::quoted;
use crate::suggest::nearest;

/// An error in a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DeserializeError {
    /// A section has an unknown key. The explanation names the key for a name of another system.
    UnknownKey { name: String, known: &'static [&'static str], explanation: Option<String> },
    /// A required key is missing.
    MissingKey { name: &'static str },
    /// Any other error, with a suggestion.
    Wrong { message: String, nearest: Option<String> },
}

impl DeserializeError {
    fn wrong(message: String) -> Self {
        Self::Wrong { message, nearest: None }
    }

    /// Returns the nested form of an unknown key that is written with dots:
    /// `worker: {prefetch: …}`.
    pub(crate) fn nested_form(&self) -> Option<String> {
        let Self::UnknownKey { name, known, explanation: None } = self else { return None };
        let (section, inside) = name.split_once('.').filter(|(section, _)| known.contains(section))?;
        let parts: Vec<&str> = inside.split('.').collect();
        let inner = parts.iter().rev().fold("…".to_owned(), |inner, part| format!("{{{part}: {inner}}}"));
        Some(format!("{section}: {inner}"))
    }
}

impl fmt::Display for DeserializeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { explanation: Some(explanation), .. } => write!(formatter, "unknown key, {explanation}"),
            Self::UnknownKey { known: [], .. } => formatter.write_str("unknown key"),
            Self::UnknownKey { .. } if self.nested_form().is_some() => {
                write!(formatter, "unknown key; write it as {}", self.nested_form().unwrap_or_default())
            }
            Self::UnknownKey { name, known, .. } => match nearest(name, known.iter().copied()) {
                Some(_) => formatter.write_str("unknown key"),
                None => write!(formatter, "unknown key; known keys: {}", known.join(", ")),
            },
            Self::MissingKey { .. } => formatter.write_str("required key is missing"),
            Self::Wrong { message, .. } => formatter.write_str(message),
        }
    }
}

impl std::error::Error for DeserializeError {}

impl de::Error for DeserializeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::wrong(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = in_words(&expected.to_string());
        let is_bare = matches!(
            found,
            Unexpected::Bool(_) | Unexpected::Signed(_) | Unexpected::Unsigned(_) | Unexpected::Float(_)
        );
        let help = if expected == "text" && is_bare {
            "; put it in quotes"
        } else if is_needlessly_quoted(found, &expected) {
            "; remove the quotes"
        } else {
            ""
        };
        Self::wrong(format!("should be {expected}, found {}{help}", shown(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(format!("should be {}, found {}", in_words(&expected.to_string()), shown(found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::wrong(format!("should be {}, found {length} values", in_words(&expected.to_string())))
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let message = match known {
            [only] => format!("should be {only}, found {}", quoted(found)),
            _ => format!("should be one of {}, found {}", known.join(", "), quoted(found)),
        };
        Self::Wrong { message, nearest: nearest(found, known.iter().copied()).map(str::to_owned) }
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { name: name.to_owned(), known, explanation: None }
    }

    fn missing_field(name: &'static str) -> Self {
        Self::MissingKey { name }
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::wrong(format!("is set twice, as `{name}` and under another name; keep one"))
    }
}

/// Returns true for text that is a value of the expected type in quotes.
fn is_needlessly_quoted(found: Unexpected<'_>, expected: &str) -> bool {
    let Unexpected::Str(text) = found else { return false };
    let text = text.trim_matches(['"', '\'']);
    match expected {
        "true or false" => matches!(text, "true" | "false"),
        _ if expected.starts_with("a whole number") => text.parse::<i64>().is_ok(),
        "a number" => text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => false,
    }
}

/// Translates serde's name of a type.
fn in_words(expected: &str) -> String {
    let whole = |least: &str, most: &str| format!("a whole number from {least} to {most}");
    match expected {
        "u8" => whole("0", "255"),
        "u16" => whole("0", "65535"),
        "u32" => whole("0", "4294967295"),
        "u64" | "u128" | "usize" => "a whole number".to_owned(),
        "i8" => whole("-128", "127"),
        "i16" => whole("-32768", "32767"),
        "i32" => whole("-2147483648", "2147483647"),
        "i64" | "i128" | "isize" | "an integer" => "a whole number, possibly negative".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "string" | "str" | "a borrowed string" => "text".to_owned(),
        "a character" => "one character".to_owned(),
        "a sequence" => "a list such as [a, b]".to_owned(),
        "a map" => "a section".to_owned(),
        "unit" => "nothing".to_owned(),
        "option" => "a value or nothing".to_owned(),
        "string or map" => "one of its names".to_owned(),
        other if other.starts_with("struct ") => "a section".to_owned(),
        other => other.to_owned(),
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        // With its point: 4.0 is no whole number.
        Unexpected::Float(value) => format!("{value:?}"),
        Unexpected::Str(text) => quoted(text),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}
