//! Text that is not written in the expected form.

use std::borrow::Cow;
use std::fmt;

use crate::NONE;

/// Text that is not written in the expected form.
///
/// Displayed as the end of a sentence that begins with a name: `time_limit` *should be a duration
/// such as 10s or 1m 30s, found `10 parsecs`*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    expected: Cow<'static, str>,
    found: String,
    advice: String,
}

impl Error {
    pub(crate) fn new(expected: impl Into<Cow<'static, str>>, found: &str) -> Self {
        Self { expected: expected.into(), found: found.to_owned(), advice: String::new() }
    }

    /// Replaces the expected form.
    pub(crate) fn expecting(self, expected: &'static str) -> Self {
        Self { expected: expected.into(), ..self }
    }

    /// Adds the word `none` to the expected form.
    pub(crate) fn or_none(self) -> Self {
        Self { expected: format!("{}, or {NONE}", self.expected).into(), ..self }
    }

    /// Adds advice to the end. It begins with its own comma.
    pub(crate) fn with_advice(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }

    /// Adds a suggestion to the end.
    pub(crate) fn with_suggestion(self, suggestion: impl fmt::Display) -> Self {
        self.with_advice(format!(", did you mean {suggestion}?"))
    }

    /// Returns the message. `quote` shows the text, which may be long or contain a password.
    pub fn quoted_by(&self, quote: impl FnOnce(&str) -> String) -> String {
        format!("should be {}, found {}{}", self.expected, quote(&self.found), self.advice)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.quoted_by(|found| format!("`{found}`")))
    }
}

impl std::error::Error for Error {}
