//! The licences of a release: a list of packages, and each text once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::packages::{Package, Part};

/// Beginnings of the names of files with licences and notices.
const NAMES: [&str; 6] = ["licen", "copying", "copyright", "unlicense", "notice", "third"];

const MIT: &str = include_str!("mit.txt");

/// Texts, each with the packages that have it.
#[derive(Default)]
struct Texts {
    /// The texts without their line breaks, and their numbers.
    numbers: BTreeMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    /// Returns the number of a text. Those that differ only in spaces are one.
    fn number(&mut self, text: &str) -> usize {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let next = self.texts.len() + 1;
        let number = *self.numbers.entry(words).or_insert(next);
        if number == next {
            self.texts.push(text.trim_end().to_owned());
        }
        number
    }

    /// Returns the number of the Apache licence, which names no holder and so serves every package.
    fn apache(&self) -> Option<usize> {
        let is_apache = |text: &String| text.contains("Apache License") && text.contains("END OF TERMS AND CONDITIONS");
        self.texts.iter().position(is_apache).map(|at| at + 1)
    }
}

/// Returns the list of the packages of others that run, and the texts of their licences.
pub(super) fn text(root: &Package, parts: &[Part<'_>]) -> Result<String> {
    let others = parts.iter().filter(|part| part.at_run_time && !part.package.is_own());
    let mut packages: Vec<_> = others.map(|part| part.package).collect();
    packages.sort_by_key(|package| (package.name(), package.version()));

    let mut texts = Texts::default();
    let mut found = BTreeMap::new();
    for (at, package) in packages.iter().enumerate() {
        let mut numbers = Vec::new();
        for file in files(package)? {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            numbers.push(texts.number(&String::from_utf8_lossy(&bytes)));
        }
        found.insert(at, numbers);
    }
    let mut page = format!(
        "{} {} contains the packages below, each under the licence beside its name.\n\
         The numbers are those of the texts that follow.\n\n",
        root.name(),
        root.version()
    );
    for (at, package) in packages.iter().enumerate() {
        let mut numbers = found.remove(&at).unwrap_or_default();
        if numbers.is_empty() {
            numbers.push(standard(package, &mut texts)?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        page.push_str(&line(package, &numbers));
    }
    for (at, text) in texts.texts.iter().enumerate() {
        page.push_str(&format!("\n{}\nText {}\n\n{text}\n", "-".repeat(80), at + 1));
    }
    Ok(page)
}

fn line(package: &Package, numbers: &[usize]) -> String {
    let numbers = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let licence = package.licence().unwrap_or_else(|| "see the text".to_owned());
    let repository = package.repository().unwrap_or("https://crates.io");
    format!("{} {}: {licence}, {repository}: {numbers}\n", package.name(), package.version())
}

/// Returns the files of a package with its licences and notices.
fn files(package: &Package) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    find(package.folder(), &mut found)?;
    found.extend(package.licence_file());
    found.sort();
    found.dedup();
    Ok(found)
}

/// Finds files with such a name, and every file in a folder with such a name.
fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if !NAMES.iter().any(|beginning| name.starts_with(beginning)) || name.ends_with(".rs") {
            continue;
        }
        if path.is_dir() {
            found.extend(entries(&path)?.into_iter().filter(|inner| inner.is_file()));
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
}

/// Returns the text for a package that has none, from its licence and its authors.
fn standard(package: &Package, texts: &mut Texts) -> Result<usize> {
    let licence = package.licence().unwrap_or_default();
    let choices: Vec<_> = licence.split(" OR ").collect();
    if choices.contains(&"Apache-2.0")
        && let Some(number) = texts.apache()
    {
        return Ok(number);
    }
    if choices.contains(&"MIT") {
        let holders = package.authors().join(", ");
        return Ok(texts.number(&format!("The MIT License\n\nCopyright (c) {holders}\n\n{MIT}")));
    }
    bail!("{} {} has no text of its licence, {licence}", package.name(), package.version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_spaces_are_one() {
        let mut texts = Texts::default();
        let numbers = ["a b\nc", "a  b c\n", "d"].map(|text| texts.number(text));
        assert_eq!(numbers, [1, 1, 2]);
    }
}
