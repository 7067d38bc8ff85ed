//! The only place that prints: answers to standard output, everything else to standard error.
//!
//! Task names, errors and headers come from the network. Characters in them that a terminal obeys
//! are escaped. A text that comes from outside is one line ([`one_line`]), or its further lines are
//! indented ([`indented`]), so that it cannot pass for a line of the answer. JSON has its own
//! escapes.
#![expect(clippy::print_stderr, reason = "printing is what this file is for")]

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use celeriac_telemetry::ErrorChain;
use serde::Serialize;

use crate::args::CommandName;
use crate::error::Error;

/// Prints an answer as text, or as JSON.
pub(crate) fn answer<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) {
    let answer =
        if json { serde_json::to_string_pretty(value).unwrap_or_default() } else { printable(&text()).into_owned() };
    // A closed pipe is no error: `head` closes it once it has read enough.
    let _ = writeln!(io::stdout().lock(), "{}", answer.trim_end());
}

/// Prints an answer that replaces the last one on the terminal. As JSON it is one line. Returns
/// false if nothing reads the answers.
pub(crate) fn refresh<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) -> bool {
    /// Moves to the first line of the terminal, and clears from there.
    const CLEAR: &str = "\u{1b}[H\u{1b}[J";
    let mut out = io::stdout().lock();
    let clear = if json || !out.is_terminal() { "" } else { CLEAR };
    let answer = if json { serde_json::to_string(value).unwrap_or_default() } else { printable(&text()).into_owned() };
    writeln!(out, "{clear}{}", answer.trim_end()).and_then(|()| out.flush()).is_ok()
}

/// Prints one of many answers, each on a line of its own. Returns false if nothing reads them.
pub(crate) fn line<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) -> bool {
    let answer = if json { serde_json::to_string(value).unwrap_or_default() } else { printable(&text()).into_owned() };
    let mut out = io::stdout().lock();
    writeln!(out, "{answer}").and_then(|()| out.flush()).is_ok()
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
    eprint!("{} [y/N] ", printable(question));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => Err(Error::Declined),
    }
}

/// Prints an error with its causes and its remedy.
pub(crate) fn failure(error: &Error, name: &CommandName) {
    eprintln!("{}", printable(&failure_text(error, name)));
}

fn failure_text(error: &Error, name: &CommandName) -> String {
    let texts = ErrorChain(error).texts();
    // The configuration is the user's own, and each of its problems is a line.
    let columns = if matches!(error, Error::Config(_)) { 0 } else { 4 };
    let texts: Vec<_> = texts.iter().map(|text| indented(text, columns)).collect();
    let mut text = format!("error: {}", texts.join("\n  caused by: "));
    if let Some(help) = error.help() {
        text.push_str(&format!("\n  help: {}", name.in_text(help)));
    }
    text
}

/// Returns a text from outside on one line, with line breaks and tabs escaped.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |character| moves(character) || matches!(character, '\n' | '\t'))
}

/// Returns a text from outside with its second and further lines indented.
pub(crate) fn indented(text: &str, columns: usize) -> Cow<'_, str> {
    if !text.contains('\n') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.trim_end().replace('\n', &format!("\n{:columns$}", "")))
}

/// Escapes the characters that a terminal obeys, except line breaks and tabs.
fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, moves)
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
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

/// Returns true for a character that steers the terminal, changes the order of what is shown, or is
/// not shown at all. Line breaks and tabs are left out.
fn moves(character: char) -> bool {
    let steers = character.is_control() && !matches!(character, '\n' | '\t');
    let reorders =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    let hides = matches!(character, '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    steers || reorders || breaks || hides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped() {
        let cases = [
            ("two\nlines\tand ü, 漢, 👩‍🚀", "two\nlines\tand ü, 漢, 👩‍🚀"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{1b}]52;c;cm0gLXJm\u{7}", "\\u{1b}]52;c;cm0gLXJm\\u{7}"),
            ("\rover", "\\rover"),
            ("\u{8}\u{7f}", "\\u{8}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}txt.exe\u{2066}", "\\u{202e}txt.exe\\u{2066}"),
            ("a\u{200b}b\u{feff}\u{e0041}\u{2028}", "a\\u{200b}b\\u{feff}\\u{e0041}\\u{2028}"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn a_text_from_outside_cannot_pass_for_a_line() {
        assert_eq!(one_line("mail\n0 of 7 match\t\u{1b}[A"), "mail\\n0 of 7 match\\t\\u{1b}[A");
        assert_eq!(indented("first\nerror: second\n", 4), "first\n    error: second");
        let error = Error::Data { what: "task x".to_owned(), reason: "no\nerror: all is well".to_owned() };
        let name = CommandName::of(None);
        assert_eq!(failure_text(&error, &name), "error: task x: no\n    error: all is well");
    }

    #[test]
    fn a_remedy_has_the_name_of_the_program() {
        let migration = celeriac_results::Error::Migration {
            url: "postgres://db".to_owned(),
            version: 3,
            name: "outbox",
            source: "permission denied".into(),
        };
        let text = failure_text(&Error::Results(migration), &CommandName::of(Some("bin/shop".as_ref())));
        assert!(text.contains("\n  help: run `shop setup` as a user"), "{text}");
    }
}
