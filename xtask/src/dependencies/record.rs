//! The record of direct dependencies: a table with the facts of each, and the reason to trust it.
//! A reviewer reads the line of a new one, and of one whose facts have changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::packages::{Graph, Package};
use crate::run::workspace;

/// The page with the table.
pub(super) const PAGE: &str = "docs/contributing/dependencies.md";

/// The first cells of the table.
const HEAD: &str = "| crate | version | licence | unsafe | at build |";

/// Number of cells with facts.
const FACTS: usize = 5;

/// Number of cells after the facts: release, maintainer, reason.
const JUDGED: usize = 3;

/// Compares the table with the facts.
pub(super) fn check() -> Result<()> {
    let page = fs::read_to_string(workspace().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let recorded = recorded(&page)?;
    let graph = Graph::locked()?;
    let direct = graph.direct().into_iter().map(|package| {
        let version = format!("{} {}", package.name(), compatible(package.version()));
        Ok((version, facts(package)?))
    });
    let differences = differences(&recorded, &direct.collect::<Result<_>>()?);
    ensure!(
        differences.is_empty(),
        "the record of dependencies in {PAGE} is not true:\n{}\nread the package, then write its line",
        differences.join("\n")
    );
    Ok(())
}

/// The facts of each crate and version, as the beginning of its line.
type Lines = BTreeMap<String, String>;

fn recorded(page: &str) -> Result<Lines> {
    let table = page.lines().skip_while(|line| !line.starts_with(HEAD)).skip(2);
    let mut lines = Lines::new();
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let complete = cells.len() == FACTS + JUDGED && cells.iter().all(|cell| !cell.is_empty());
        ensure!(complete, "a line of {PAGE} is not complete: {line}");
        let facts = &cells[..FACTS];
        let version = facts[..2].join(" ");
        let twice = lines.insert(version.clone(), format!("| {} |", facts.join(" | ")));
        ensure!(twice.is_none(), "{PAGE} has two lines about {version}");
    }
    Ok(lines)
}

fn differences(recorded: &Lines, direct: &Lines) -> Vec<String> {
    let mut found = Vec::new();
    for (version, facts) in direct {
        match recorded.get(version) {
            Some(line) if line == facts => {}
            Some(line) => found.push(format!("- {line}\n+ {facts}")),
            None => found.push(format!("+ {facts}")),
        }
    }
    found.extend(
        recorded.iter().filter(|(version, _)| !direct.contains_key(*version)).map(|(_, line)| format!("- {line}")),
    );
    found
}

/// Returns the facts about a package that the table has.
fn facts(package: &Package) -> Result<String> {
    let at_build = match (package.has_target("custom-build"), package.has_target("proc-macro")) {
        (true, _) => "script",
        (false, true) => "macro",
        (false, false) => "nothing",
    };
    let is_unsafe = if has_unsafe(&package.folder().join("src"))? { "yes" } else { "no" };
    let licence = package.licence().unwrap_or_else(|| "none".to_owned());
    let version = compatible(package.version());
    Ok(format!("| {} | {version} | {licence} | {is_unsafe} | {at_build} |", package.name()))
}

/// Returns the part of a version that an incompatible release changes.
fn compatible(version: &str) -> &str {
    let parts = if version.starts_with("0.") { 2 } else { 1 };
    let end = version.match_indices('.').nth(parts - 1).map_or(version.len(), |(at, _)| at);
    &version[..end]
}

/// Returns `true` if a source file below the folder has the word `unsafe` outside of line comments.
fn has_unsafe(folder: &Path) -> Result<bool> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_unsafe(&path)?
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            says_unsafe(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn says_unsafe(source: &str) -> bool {
    let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let mut words = code.flat_map(|line| line.split(|letter: char| letter != '_' && !letter.is_alphanumeric()));
    words.any(|word| word == "unsafe")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "| crate | version | licence | unsafe | at build | release | maintainer | reason |\n| --- |\n";

    fn lines(rows: &str) -> Lines {
        recorded(&format!("# Page\n\n{HEADER}{rows}\nText.\n")).unwrap()
    }

    #[test]
    fn a_new_a_changed_and_a_removed_dependency_are_differences() {
        let same = "| a | 1 | MIT | no | nothing | 2026-01 | somebody | small |\n";
        let recorded = lines(&format!(
            "{same}| b | 1 | MIT | no | nothing | x | y | z |\n| d | 1 | MIT | no | nothing | x | y | z |\n"
        ));
        let direct = lines(&format!(
            "{same}| b | 1 | MIT | no | script | x | y | z |\n| c | 1 | MIT | no | nothing | x | y | z |\n"
        ));
        assert_eq!(
            differences(&recorded, &direct),
            [
                "- | b | 1 | MIT | no | nothing |\n+ | b | 1 | MIT | no | script |",
                "+ | c | 1 | MIT | no | nothing |",
                "- | d | 1 | MIT | no | nothing |",
            ]
        );
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        let error = recorded(&format!("{HEADER}| a | 1 | MIT | no | nothing | 2026-01 | somebody |  |\n")).unwrap_err();
        assert!(error.to_string().contains("not complete"), "{error}");
    }

    #[test]
    fn a_version_is_that_of_compatible_releases() {
        assert_eq!([compatible("1.54.1"), compatible("0.9.0"), compatible("8.2.0+x")], ["1", "0.9", "8"]);
    }

    #[test]
    fn unsafe_is_a_word_of_the_code() {
        assert!(says_unsafe("let x = unsafe { y };"));
        assert!(!says_unsafe("#![forbid(unsafe_code)] // no unsafe"));
    }
}
