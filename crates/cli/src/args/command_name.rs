//! The name by which the user called the program.

use std::ffi::OsStr;
use std::path::Path;

use clap::CommandFactory;

use super::CommandLine;

/// The operators' own binary. Remedies of libraries name it, because a library does not know its
/// program.
const OPERATORS: &str = "celeriac";

/// A program with tasks, in the examples of help texts.
const WITH_TASKS: &str = "my-app";

/// The name by which the user called the program. Help texts and remedies name it.
#[derive(Debug, Clone)]
pub(crate) struct CommandName {
    name: String,
    verbs: Vec<String>,
}

impl CommandName {
    /// Returns the name in the first argument of a process.
    pub(crate) fn of(argument: Option<&OsStr>) -> Self {
        let name = argument.and_then(|path| Path::new(path).file_name()).map(OsStr::to_string_lossy);
        let name = name.as_deref().map(|name| name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(name));
        let name = name.filter(|name| !name.is_empty()).unwrap_or(OPERATORS).to_owned();
        let verbs = CommandLine::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        Self { name, verbs }
    }

    /// Returns the name.
    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// Returns the name with the version of Celeriac.
    pub(crate) fn with_version(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self.is_operators() {
            true => format!("{OPERATORS} {version}"),
            false => format!("{} ({OPERATORS} {version})", self.name),
        }
    }

    /// Returns true for the operators' own binary.
    pub(crate) fn is_operators(&self) -> bool {
        self.name == OPERATORS
    }

    /// Returns a text with this name in its command lines: `celeriac setup` becomes `shop setup`.
    pub(crate) fn in_text(&self, text: &str) -> String {
        if self.is_operators() {
            return text.to_owned();
        }
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, other)) = first_of(rest, [OPERATORS, WITH_TASKS]) {
            let (before, found) = rest.split_at(at);
            let after = &found[other.len()..];
            let is_word = !before.ends_with(|before: char| before.is_alphanumeric() || "-_/".contains(before));
            named.push_str(before);
            named.push_str(if is_word && self.begins_with_verb(after) { &self.name } else { other });
            rest = after;
        }
        named.push_str(rest);
        named
    }

    /// Returns true for the rest of a command line, after the name of the program.
    fn begins_with_verb(&self, rest: &str) -> bool {
        let Some(words) = rest.strip_prefix(' ') else { return false };
        let word = words.split(|next: char| !next.is_alphanumeric() && next != '-').next().unwrap_or_default();
        self.verbs.iter().any(|verb| verb == word)
    }
}

/// Returns the first of these words in a text, with its position.
fn first_of<const N: usize>(text: &str, words: [&'static str; N]) -> Option<(usize, &'static str)> {
    words.into_iter().filter_map(|word| Some((text.find(word)?, word))).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, text: &str) -> String {
        CommandName::of(Some(OsStr::new(path))).in_text(text)
    }

    #[test]
    fn command_lines_have_the_name_by_which_the_program_was_called() {
        let cases = [
            ("run `celeriac setup` as another user", "run `shop setup` as another user"),
            ("celeriac topology migrate mail --to NEW", "shop topology migrate mail --to NEW"),
            (
                "  my-app worker -c 2\n  CELERIAC_ENV=a celeriac dead list",
                "  shop worker -c 2\n  CELERIAC_ENV=a shop dead list",
            ),
            (
                "schema `celeriac` of celeriac.db, queue celeriac mail",
                "schema `celeriac` of celeriac.db, queue celeriac mail",
            ),
            ("/opt/celeriac worker", "/opt/celeriac worker"),
        ];
        for (text, expected) in cases {
            assert_eq!(named("target/debug/shop", text), expected);
            assert_eq!(named("/usr/bin/celeriac", text), text);
        }
    }
}
