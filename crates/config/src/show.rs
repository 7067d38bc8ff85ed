//! The configuration in force, with the source of each value.

use std::fmt::Write as _;

use config::{Value, ValueKind};
use serde::Serialize;

use crate::load::Loaded;
use crate::origin::ValueOrigin;
use crate::quote::without_password;
use crate::tree::{ConfigNode, PathStep};
use crate::yaml;

impl<T: Serialize> Loaded<T> {
    /// Writes the configuration in force as YAML, with masked secrets. A comment names the source
    /// of each value that is not a default.
    ///
    /// Options that YAML cannot hold, such as a map whose keys are not text, are a comment with the
    /// error.
    pub fn show(&self) -> String {
        // JSON is YAML and keeps the order of fields, so the reader of files reads it.
        let json = match serde_json::to_string(&self.options) {
            Ok(json) => json,
            Err(error) => return format!("# these options cannot be written as YAML: {error}\n"),
        };
        let mut shown = YamlWriter(String::new());
        if let Some(Value { kind: ValueKind::Table(sections), .. }) = yaml::read(&json, None).tree {
            for (name, value) in &sections {
                shown.entry(0, name, value, said(Some(&self.tree), name));
            }
        }
        shown.0
    }
}

fn said<'a>(section: Option<&'a ConfigNode>, name: &str) -> Option<&'a ConfigNode> {
    section?.child(&PathStep::Key(name.to_owned()))
}

/// A writer of YAML.
struct YamlWriter(String);

impl YamlWriter {
    /// Writes `name: value`, or the name and the value's lines below it.
    fn entry(&mut self, indent: usize, name: &str, value: &Value, said: Option<&ConfigNode>) {
        self.start(indent);
        self.key(indent, name, value, said);
    }

    fn key(&mut self, indent: usize, name: &str, value: &Value, node: Option<&ConfigNode>) {
        self.0.push_str(&scalar(&ValueKind::String(name.to_owned())));
        self.0.push(':');
        match &value.kind {
            ValueKind::Table(values) if !values.is_empty() => {
                self.0.push('\n');
                for (name, value) in values {
                    self.entry(indent + 1, name, value, said(node, name));
                }
            }
            // A list has one origin, because lists replace each other.
            ValueKind::Array(values) if !values.is_empty() => {
                self.end_line(node);
                values.iter().for_each(|value| self.element(indent + 1, value));
            }
            other => {
                self.0.push(' ');
                self.0.push_str(&scalar(other));
                self.end_line(node);
            }
        }
    }

    fn element(&mut self, indent: usize, value: &Value) {
        self.start(indent);
        self.0.push_str("- ");
        match &value.kind {
            ValueKind::Table(values) if !values.is_empty() => {
                for (index, (name, value)) in values.iter().enumerate() {
                    if index > 0 {
                        self.start(indent + 1);
                    }
                    self.key(indent + 1, name, value, None);
                }
            }
            other => {
                self.0.push_str(&flow(other));
                self.0.push('\n');
            }
        }
    }

    fn start(&mut self, indent: usize) {
        self.0.extend(std::iter::repeat_n("  ", indent));
    }

    fn end_line(&mut self, said: Option<&ConfigNode>) {
        match said.and_then(|node| node.origin.as_ref()) {
            // Writing to a string cannot fail.
            Some(origin) if !matches!(origin, ValueOrigin::Defaults(_)) => drop(writeln!(self.0, "  # {origin}")),
            _ => self.0.push('\n'),
        }
    }
}

/// Writes a value in one line.
fn flow(value: &ValueKind) -> String {
    match value {
        ValueKind::Array(values) => {
            let values: Vec<String> = values.iter().map(|value| flow(&value.kind)).collect();
            format!("[{}]", values.join(", "))
        }
        ValueKind::Table(values) => {
            let entries = values.iter().map(|(name, value)| format!("{}: {}", in_quotes(name), flow(&value.kind)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        ValueKind::String(text) => in_quotes(&without_password(text)),
        other => scalar(other),
    }
}

fn scalar(value: &ValueKind) -> String {
    match value {
        ValueKind::Nil => "null".to_owned(),
        ValueKind::Boolean(value) => value.to_string(),
        ValueKind::I64(value) => value.to_string(),
        ValueKind::U64(value) => value.to_string(),
        ValueKind::I128(value) => value.to_string(),
        ValueKind::U128(value) => value.to_string(),
        ValueKind::Float(value) => format!("{value:?}"),
        ValueKind::String(text) => match without_password(text) {
            text if is_plain(&text) => text.into_owned(),
            text => in_quotes(&text),
        },
        ValueKind::Table(_) => "{}".to_owned(),
        ValueKind::Array(_) => "[]".to_owned(),
    }
}

/// Returns true if a text needs no quotes.
fn is_plain(text: &str) -> bool {
    let begins_well = text.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '/' || first == '_');
    let is_harmless = |character: char| character.is_ascii_alphanumeric() || "/_-+.:@%*=&?, ".contains(character);
    begins_well
        && text.chars().all(is_harmless)
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && matches!(yaml::resolve(text.to_owned()), ValueKind::String(_))
}

fn in_quotes(text: &str) -> String {
    // JSON and YAML escape alike.
    serde_json::Value::from(text).to_string()
}
