//! Lists of known offences in `standing/<rule>/<crate>`, one in each line, sorted. They are removed
//! one by one.
//!
//! An offence that is not listed fails the test. So does a listed one that no longer exists, so the
//! lists only get shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::files::root;

/// Compares offences, by crate and name and with the reason, with the list.
pub(crate) fn compare(rule: &str, offences: &BTreeMap<(String, String), String>) {
    let listed = listed(rule);
    let mut complaints = Vec::new();
    for (offence, reason) in offences {
        if !listed.contains(offence) {
            complaints.push(format!("{}: {} {reason}", offence.0, offence.1));
        }
    }
    for (library, name) in &listed {
        if !offences.contains_key(&(library.clone(), name.clone())) {
            complaints.push(format!("mended: delete the line `{name}` of tests/repository/standing/{rule}/{library}"));
        }
    }
    assert!(complaints.is_empty(), "{rule}:\n{}", complaints.join("\n"));
}

fn listed(rule: &str) -> BTreeSet<(String, String)> {
    let folder = root().join("tests/repository/standing").join(rule);
    let files: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        // No offence is left.
        Err(_) => return BTreeSet::new(),
    };
    let mut listed = BTreeSet::new();
    for file in files {
        let library = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.is_sorted(), "{} is not sorted", file.display());
        listed.extend(lines.into_iter().map(|line| (library.clone(), line.to_owned())));
    }
    listed
}
