//! Reads a command line. Help texts name the program as its user did.

use std::ffi::OsString;

use clap::{Command, CommandFactory, Error, FromArgMatches};

use super::CommandLine;
use super::command_name::CommandName;
use super::tips::with_tip;

impl CommandLine {
    /// Reads the arguments of a process. The first one is the name of the program.
    ///
    /// # Errors
    /// Returns clap's error, with a tip, or the answer to `--help` or `--version`.
    pub(crate) fn read(name: &CommandName, arguments: &[OsString]) -> Result<Self, Error> {
        let mut command = command(name);
        let read = command.try_get_matches_from_mut(arguments).and_then(|matches| {
            // The command line matches, so this fails only if clap contradicts itself.
            Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
        });
        read.map_err(|error| with_tip(error, &mut command, arguments))
    }
}

/// Returns the command of a program of this name.
fn command(name: &CommandName) -> Command {
    let version = match name.is_operators() {
        true => env!("CARGO_PKG_VERSION"),
        false => concat!("(celeriac ", env!("CARGO_PKG_VERSION"), ")"),
    };
    let command = CommandLine::command().display_name(name.as_str()).bin_name(name.as_str()).version(version);
    named(command, name)
}

/// Puts the name into the examples of a command, and of those below it.
fn named(command: Command, name: &CommandName) -> Command {
    let end = command.get_after_help().map(|end| name.in_text(&end.to_string()));
    command.after_help(end.unwrap_or_default()).mut_subcommands(|verb| named(verb, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_and_version_have_the_name_of_the_program() {
        let answer = |path: &str, arguments: &[&str]| {
            let name = CommandName::of(Some(path.as_ref()));
            let line: Vec<_> = [&[path], arguments].concat().into_iter().map(OsString::from).collect();
            CommandLine::read(&name, &line).unwrap_err().to_string()
        };
        let help = answer("/usr/bin/shop", &["call", "--help"]);
        assert!(help.contains("Usage: shop call") && help.contains("\n  shop call shop.charge"), "{help}");
        assert!(!help.contains("celeriac call"), "{help}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(answer("/usr/bin/shop", &["--version"]), format!("shop (celeriac {version})\n"));
        assert_eq!(answer("celeriac", &["--version"]), format!("celeriac {version}\n"));
    }
}
