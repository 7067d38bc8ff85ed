//! `config/celeriac.yaml` is reference, template and defaults in one.

use std::collections::BTreeSet;

use celeriac::settings::Settings;
use celeriac::settings::{Origins, REFERENCE};
use celeriac_admin::dead::REASONS;
use celeriac_config::Environment;
use celeriac_units::TASK_OPTIONS;

use crate::files::{files, root};

#[test]
fn the_reference_is_the_one_in_the_package() {
    let reference = std::fs::read_to_string(root().join("config/celeriac.yaml")).unwrap();
    assert_eq!(reference, REFERENCE, "copy config/celeriac.yaml to crates/celeriac/config/");
}

#[test]
fn the_reference_holds_the_defaults() {
    let loaded = Settings::load(&Origins::default()).unwrap();
    assert_eq!(loaded.options, Settings::default());
}

#[test]
fn the_reference_names_every_key() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut missing = Vec::new();
    walk(&defaults, &mut Vec::new(), &mut missing);
    assert!(missing.is_empty(), "config/celeriac.yaml does not mention {missing:?}");
}

#[test]
fn every_setting_that_a_page_names_exists() {
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let exists = |name: &str| name.split('.').try_fold(&defaults, |value, key| value.get(key)).is_some();
    // Decisions also name what they replace.
    let pages = files("docs", ".md").into_iter().filter(|page| !page.to_string_lossy().contains("/decisions/"));
    for page in pages.chain([root().join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        let named = text.split('`').skip(1).step_by(2).filter(|name| is_setting(name));
        for name in named {
            assert!(exists(name), "{} names {name}", page.display());
        }
    }
    assert!(exists("results.pool.max_connections") && !exists("results.pool.most_connections"));
}

/// Returns `true` for a text such as `worker.prefetch`.
fn is_setting(text: &str) -> bool {
    let sections = ["broker.", "results.", "client.", "worker.", "telemetry."];
    let is_key = |character: char| character.is_ascii_lowercase() || ['_', '.'].contains(&character);
    // A method of a client.
    text != "client.submit_in" && sections.iter().any(|section| text.starts_with(section)) && text.chars().all(is_key)
}

fn walk(value: &serde_json::Value, path: &mut Vec<String>, missing: &mut Vec<String>) {
    let Some(entries) = value.as_object() else { return };
    for (key, value) in entries {
        path.push(key.clone());
        let line = format!("{}{key}:", "  ".repeat(path.len() - 1));
        if !REFERENCE.lines().any(|written| written.starts_with(&line)) {
            missing.push(path.join("."));
        }
        walk(value, path, missing);
        path.pop();
    }
}

#[test]
fn the_reference_explains_the_options_of_tasks_as_their_table_does() {
    let explained = TASK_OPTIONS.iter().filter_map(|option| {
        let (example, meaning) = option.config?;
        Some(format!("#     {:<27}# {meaning}\n", format!("{}: {example}", option.key)))
    });
    let explained: String = explained.collect();
    let expected = format!("{explained}task_options: []\n");
    assert!(REFERENCE.contains(&expected), "above task_options in config/celeriac.yaml should stand:\n{explained}");
}

#[test]
fn the_page_of_exit_codes_is_their_table() {
    let page = std::fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let table = celeriac::cli::Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning()));
    assert_eq!(rows, table.collect::<Vec<_>>(), "docs/exit-codes.md");
}

#[test]
fn the_page_of_dead_letters_has_every_reason_that_is_known() {
    let page = std::fs::read_to_string(root().join("docs/dead-letters.md")).unwrap();
    let (_, reasons) = page.split_once("\n## Reasons\n").unwrap();
    let rows = reasons.lines().skip_while(|line| !line.starts_with("| `")).take_while(|line| line.starts_with('|'));
    let reasons: BTreeSet<_> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    assert_eq!(reasons, REASONS.iter().copied().collect(), "docs/dead-letters.md");
}

#[test]
fn the_worked_examples_load() {
    let origins =
        Origins { directory: Some(root().join("config")), environment: Environment::default(), ..Origins::default() };
    let loaded = Settings::load(&origins).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(!loaded.options.task_routes.is_empty());
}
