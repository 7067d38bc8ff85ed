//! The private folder of a server: its place, and the last lines of its logs.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const LAST_LINES: usize = 40;

/// Returns the root of all folders.
///
/// It is not below the checkout, which the Postgres user may not be able to reach. It is not /tmp
/// if there is a choice, because /tmp is often in memory, where a flush to disk costs and proves
/// nothing.
pub(crate) fn root() -> PathBuf {
    let disk = PathBuf::from("/var/tmp");
    if tempfile::tempfile_in(&disk).is_ok() { disk } else { std::env::temp_dir() }
}

/// Creates a folder that others may traverse but not list.
pub(crate) fn private(kind: &str) -> Result<PathBuf> {
    let root = root();
    let folder = tempfile::Builder::new()
        .prefix(&format!("celeriac-{kind}-"))
        .tempdir_in(&root)
        .with_context(|| format!("cannot make a folder in {}", root.display()))?
        .keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))
        .with_context(|| format!("cannot open {} to the server", folder.display()))?;
    Ok(folder)
}

/// Returns a folder shared by the processes of one user, and creates it if it is missing.
pub(crate) fn shared(kind: &str) -> Result<PathBuf> {
    let folder = root().join(format!("celeriac-{kind}-{}", rustix::process::getuid().as_raw()));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Returns `true` if folders are to be kept for inspection.
pub(crate) fn keep() -> bool {
    std::env::var_os("CELERIAC_TEST_KEEP").is_some_and(|value| !value.is_empty())
}

/// Returns the end of every log in the folder, for the message of a failure.
pub(crate) fn last_words(logs: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(logs).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut words = String::new();
    for file in files {
        let text = fs::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if !text.trim().is_empty() {
            words.push_str(&format!("\n--- the end of {} ---\n{}", file.display(), tail(text.lines())));
        }
    }
    words
}

/// Returns the last lines of a log that contain this word.
pub(crate) fn last_lines_with(log: &Path, word: &str) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    tail(text.lines().filter(|line| line.contains(word)))
}

fn tail<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_end_of_each_log_that_has_any() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty.log"), "\n").unwrap();
        fs::write(folder.path().join("long.log"), (0..100).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let words = last_words(folder.path());
        assert!(words.contains("line 60\n") && words.ends_with("line 99"), "{words}");
        assert!(!words.contains("line 59\n") && !words.contains("empty.log"), "{words}");
    }
    #[test]
    fn the_lines_with_a_word_are_the_last_ones_of_that_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("rabbit.log");
        fs::write(&log, (0..100).map(|n| format!("[error] {n}\n[info] {n}\n")).collect::<String>()).unwrap();
        let lines = last_lines_with(&log, "[error]");
        assert!(lines.starts_with("[error] 60\n") && lines.ends_with("[error] 99"), "{lines}");
        assert!(!lines.contains("[info]"), "{lines}");
        assert_eq!(last_lines_with(&folder.path().join("missing.log"), "[error]"), "");
    }
}
