//! The only place that prints: answers to standard output, everything else to standard error.
#![expect(clippy::print_stderr, reason = "printing is what this file is for")]

use std::error::Error as StdError;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::Error;

/// Prints an answer for people, or the same as JSON.
pub(crate) fn answer<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) {
    let answer = if json { serde_json::to_string_pretty(value).unwrap_or_default() } else { text() };
    // Whoever closes the pipe, as `head` does, has read enough.
    let _ = writeln!(io::stdout().lock(), "{}", answer.trim_end());
}

/// Prints something for people that is no answer.
pub(crate) fn notice(text: &str) {
    eprintln!("{text}");
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

/// Prints an error with its causes, and what can be done.
pub(crate) fn failure(error: &Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    if let Some(help) = error.help() {
        eprintln!("  help: {help}");
    }
}
