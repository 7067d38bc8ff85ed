//! The events of a task's life, in the table of `docs/traces.md`: each has its span or span event,
//! its metrics and its log lines, as declared.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use crate::files::root;
use crate::logs::{declarations, log_line, unquoted};

const METRICS: &str = "crates/telemetry/src/metrics.rs";

/// Every event of the table. Celeriac has no updates of a task's progress.
const EVENTS: [&str; 16] = [
    "sent",
    "received",
    "started",
    "retried",
    "succeeded",
    "failed",
    "rejected",
    "revoked",
    "expired",
    "dead-lettered",
    "replayed",
    "rate-limited",
    "delayed",
    "quarantined",
    "recorded",
    "acknowledged",
];

/// The exports of some declarations.
#[derive(Debug, Default, PartialEq, Eq)]
struct Exports {
    spans: BTreeSet<String>,
    metrics: BTreeSet<String>,
}

#[test]
fn the_page_names_the_exports_of_every_event_of_a_task() {
    let (metrics, declared) = (metric_names(), declared());
    let page = std::fs::read_to_string(root().join("docs/traces.md")).unwrap();
    let mut listed = Vec::new();
    for line in page.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", event, span, metric, phrases, _, ""] = cells.as_slice() else { continue };
        if !EVENTS.contains(event) {
            continue;
        }
        listed.push(*event);
        let mut expected = Exports::default();
        for phrase in quoted(phrases) {
            let exports = declared.get(&phrase).unwrap_or_else(|| panic!("no log line `{phrase}`: {line}"));
            expected.spans.extend(exports.spans.iter().cloned());
            expected.metrics.extend(exports.metrics.iter().map(|name| metrics[name].clone()));
        }
        // A span of its own is declared by its code.
        let spans = if span.starts_with("span ") { BTreeSet::new() } else { quoted(span) };
        assert_eq!(Exports { spans, metrics: quoted(metric) }, expected, "{line}");
        assert!(!span.is_empty() && !expected.metrics.is_empty(), "an event without an export: {line}");
    }
    assert_eq!(listed, EVENTS);
}

/// The texts in backquotes.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The exports of each declaration, by its log line. The metrics are the names of their statics.
fn declared() -> BTreeMap<String, Exports> {
    let mut found = BTreeMap::new();
    for (target, event) in declarations() {
        let phrase = log_line(&target, event.clone()).phrase;
        let mut exports = Exports::default();
        let tokens: Vec<_> = event.into_iter().collect();
        for window in tokens.windows(3) {
            let [TokenTree::Ident(part), TokenTree::Punct(colon), value] = window else { continue };
            if colon.as_char() != ':' {
                continue;
            }
            match part.to_string().as_str() {
                "span" => exports.spans.insert(unquoted(value)),
                "count" | "time" | "gauge" | "size" => exports.metrics.insert(value.to_string()),
                _ => continue,
            };
        }
        found.insert(phrase, exports);
    }
    found
}

/// The name of each metric, by its static.
fn metric_names() -> BTreeMap<String, String> {
    let tokens: TokenStream = std::fs::read_to_string(root().join(METRICS)).unwrap().parse().unwrap();
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut names = BTreeMap::new();
    for window in tokens.windows(3) {
        if let [TokenTree::Ident(name), TokenTree::Punct(_), TokenTree::Group(group)] = window
            && name == "metrics"
        {
            let metrics: Vec<_> = group.stream().into_iter().collect();
            for metric in metrics.windows(3) {
                if let [TokenTree::Ident(ident), TokenTree::Punct(_), TokenTree::Literal(name)] = metric {
                    names.insert(ident.to_string(), name.to_string().trim_matches('"').to_owned());
                }
            }
        }
    }
    assert!(names.len() > 30, "{names:?}");
    names
}
