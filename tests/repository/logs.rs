//! Log lines: every one is declared, has a target of Celeriac's, and is listed in `docs/logs.md`.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::files::{files, root};
use crate::modules::libraries;

const EVENTS: &str = "crates/telemetry/src/events";

/// The files that use the macros of `tracing`: one declares events, the other makes the span that
/// names a task on its lines.
const WRITES: [&str; 2] = ["crates/telemetry/src/events/declare.rs", "crates/telemetry/src/trace/process.rs"];

const MACROS: [&str; 12] = [
    "trace",
    "debug",
    "info",
    "warn",
    "error",
    "event",
    "span",
    "trace_span",
    "debug_span",
    "info_span",
    "warn_span",
    "error_span",
];

/// A declaration by `event!`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogLine {
    target: String,
    pub(crate) phrase: String,
    level: String,
    fields: Vec<String>,
}

#[test]
fn every_log_line_is_declared_as_an_event() {
    let mut offences = Vec::new();
    for (name, modules) in libraries() {
        for module in modules.values() {
            let imports = module.imports.iter().map(|import| &import.path);
            let is_macro = |path: &&Vec<String>| {
                path.first().is_some_and(|first| first == "tracing")
                    && path.last().is_some_and(|last| last == "*" || MACROS.contains(&last.as_str()))
            };
            let file = module.file.strip_prefix(root()).unwrap_or(&module.file).to_string_lossy().into_owned();
            if !WRITES.contains(&file.as_str()) {
                let found = imports.chain(&module.mentions).filter(is_macro);
                offences.extend(found.map(|path| format!("{name}: {file}: {}", path.join("::"))));
            }
        }
    }
    let advice = format!("declare an event in {EVENTS}, and emit that");
    assert!(offences.is_empty(), "{advice}:\n{}", offences.join("\n"));
}

#[test]
fn the_target_of_an_event_is_celeriac_and_the_name_of_its_file_or_of_its_folder() {
    for (area, tokens) in event_files() {
        assert_eq!(target(tokens), format!("celeriac::{area}"), "{EVENTS}/{area}");
    }
}

#[test]
fn a_phrase_is_fixed_and_fields_have_the_names_that_other_lines_have() {
    let synonyms = [
        ("task_id", "id"),
        ("attempts", "attempt"),
        ("reply_to", "queue"),
        ("key", "routing_key or name"),
        ("endpoint", "url"),
        ("wait_seconds", "retry_in_seconds"),
        ("run_time_seconds", "runtime_seconds"),
        ("status", "state"),
    ];
    for line in declared() {
        let is_fixed = |letter: char| letter.is_ascii_lowercase() || matches!(letter, ' ' | '-');
        assert!(line.phrase.chars().all(is_fixed) && line.phrase.split(' ').count() <= 4, "{line:?}");
        for (synonym, name) in synonyms {
            assert!(!line.fields.iter().any(|field| field == synonym), "{name}, not {synonym}: {line:?}");
        }
        let places: Vec<_> = ["task", "id", "attempt", "error"]
            .iter()
            .filter_map(|name| line.fields.iter().position(|field| field == name))
            .collect();
        assert!(places.is_sorted(), "task, id and attempt come first in this order, error last: {line:?}");
    }
}

#[test]
fn the_page_lists_every_log_line_and_what_to_do() {
    let page = std::fs::read_to_string(root().join("docs/logs.md")).unwrap();
    let mut target = String::new();
    let mut listed = BTreeSet::new();
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## `").and_then(|rest| rest.strip_suffix('`')) {
            heading.clone_into(&mut target);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", phrase, level, fields, advice, ""] = cells.as_slice() else { continue };
        let Some(phrase) = phrase.strip_prefix('`').and_then(|phrase| phrase.strip_suffix('`')) else { continue };
        assert!(!advice.is_empty(), "docs/logs.md does not say what to do: {line}");
        let fields = fields.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        listed.insert(LogLine {
            target: target.clone(),
            phrase: phrase.to_owned(),
            level: (*level).to_owned(),
            fields,
        });
    }
    let declared = declared();
    let row = |line: &&LogLine| {
        let fields: Vec<_> = line.fields.iter().map(|field| format!("`{field}`")).collect();
        format!("{}: | `{}` | {} | {} |", line.target, line.phrase, line.level, fields.join(", "))
    };
    let missing: Vec<_> = declared.difference(&listed).map(|line| row(&line)).collect();
    let surplus: Vec<_> = listed.difference(&declared).map(|line| row(&line)).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "docs/logs.md lacks\n{}\nand has what is not declared\n{}",
        missing.join("\n"),
        surplus.join("\n")
    );
}

/// The files with events, each with its area: its name, or that of its folder.
fn event_files() -> Vec<(String, TokenStream)> {
    let found = files(EVENTS, ".rs").into_iter().filter(|path| !path.ends_with("declare.rs"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let area = path.strip_prefix(root().join(EVENTS)).unwrap().components().next().unwrap();
        (area.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned(), text.parse().unwrap())
    };
    let found: Vec<_> = found.map(read).collect();
    assert!(found.len() > 5);
    found
}

/// The text of `const TARGET`.
fn target(tokens: TokenStream) -> String {
    let mut tokens = tokens.into_iter().skip_while(|token| token.to_string() != "TARGET");
    let literal = tokens.find(|token| matches!(token, TokenTree::Literal(_)));
    unquoted(&literal.unwrap())
}

fn declared() -> BTreeSet<LogLine> {
    let mut lines = BTreeSet::new();
    for (target, event) in declarations() {
        assert!(lines.insert(log_line(&target, event.clone())), "declared twice: {event}");
    }
    assert!(lines.len() > 50);
    lines
}

/// Every declaration by `event!`, with its target.
pub(crate) fn declarations() -> Vec<(String, TokenStream)> {
    let mut found = Vec::new();
    for (_, tokens) in event_files() {
        let target = target(tokens.clone());
        let tokens: Vec<_> = tokens.into_iter().collect();
        for window in tokens.windows(3) {
            if let [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Group(event)] = window
                && name == "event"
            {
                found.push((target.clone(), event.stream()));
            }
        }
    }
    found
}

/// The part `log: LEVEL "phrase" { field, field = value };` of a declaration.
pub(crate) fn log_line(target: &str, event: TokenStream) -> LogLine {
    let mut tokens = event.into_iter().skip_while(|token| token.to_string() != "log").skip(2);
    let level = tokens.next().unwrap().to_string();
    let phrase = unquoted(&tokens.next().unwrap());
    let fields = match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => first_words(group.stream()),
        _ => Vec::new(),
    };
    LogLine { target: target.to_owned(), phrase, level, fields }
}

/// The first word of each part between commas.
fn first_words(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let parts = tokens.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','));
    parts.filter_map(|part| part.first().map(ToString::to_string)).collect()
}

pub(crate) fn unquoted(literal: &TokenTree) -> String {
    literal.to_string().trim_matches('"').to_owned()
}
