//! The only place that prints: answers to standard output, everything else to standard error.
//!
//! Task names, errors and headers come from the network. Control characters in them are escaped, so
//! that they cannot steer the terminal.
#![expect(clippy::print_stderr, reason = "printing is what this file is for")]

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use celeriac_telemetry::ErrorChain;
use serde::Serialize;

use crate::error::Error;

/// Prints an answer as text, or as JSON.
pub(crate) fn answer<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) {
    let answer =
        if json { serde_json::to_string_pretty(value).unwrap_or_default() } else { printable(&text()).into_owned() };
    // A closed pipe is no error: `head` closes it once it has read enough.
    let _ = writeln!(io::stdout().lock(), "{}", answer.trim_end());
}

/// Prints a notice or a question's subject, which is not part of the answer.
pub(crate) fn notice(text: &str) {
    eprintln!("{}", printable(text));
}

/// Asks a question on the terminal, and fails unless the answer is yes.
///
/// Piped input is no answer: it changes no broker by chance.
pub(crate) fn confirm(question: &str) -> Result<(), Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::NoTerminal);
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(Error::Declined),
    }
}

/// Prints an error with its causes and its remedy.
pub(crate) fn failure(error: &Error) {
    eprintln!("error: {}", printable(&ErrorChain(error).texts().join("\n  caused by: ")));
    if let Some(help) = error.help() {
        eprintln!("  help: {help}");
    }
}

/// Escapes control characters, except line breaks and tabs.
fn printable(text: &str) -> Cow<'_, str> {
    let is_escaped = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let cases = [
            ("two\nlines\tand ü", "two\nlines\tand ü"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\rover", "\\rover"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }
}
