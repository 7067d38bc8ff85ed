//! Spans as text, so that a test compares a whole trace at once.
//!
//! ```text
//! trace 1
//!   1 sender: publish mail (producer)
//!     messaging.system = rabbitmq
//!     2 runner: process mail (consumer) -> 1
//!       messaging.system = rabbitmq
//!       * received
//!       * started
//! ```
//!
//! A span has its number, its service, its name and its kind, then the numbers of the spans that it
//! links to. Its attributes and its events follow, and its children stand below it. Values that
//! differ from run to run are replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::collector::Collected;

/// The spans of a test, in the order of their start.
#[derive(Debug)]
pub struct Graph {
    spans: Vec<Collected>,
    /// Names for values that differ from run to run.
    names: BTreeMap<String, String>,
    /// A service whose spans are shown without attributes and events.
    brief: Option<&'static str>,
}

impl Graph {
    /// Returns the graph of these spans, which shows each of these values by its name.
    pub fn new<'a>(mut spans: Vec<Collected>, names: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        spans.sort_by_key(|found| found.span.start_time_unix_nano);
        Self {
            spans,
            names: names.into_iter().map(|(name, value)| (value, format!("<{name}>"))).collect(),
            brief: None,
        }
    }

    /// Shows the spans of a service without their attributes and events.
    #[must_use]
    pub fn brief(mut self, service: &'static str) -> Self {
        self.brief = Some(service);
        self
    }

    /// Returns `true` for a span whose attributes are those of other code.
    fn is_brief(&self, found: &Collected) -> bool {
        is_users(found) || self.brief == Some(found.service.as_str())
    }

    /// Returns the names of all attributes of spans, events and links, except those of the spans
    /// that users' code makes.
    pub fn attribute_names(&self) -> BTreeSet<String> {
        let own = self.spans.iter().filter(|found| !self.is_brief(found)).map(|found| &found.span);
        let attributes = own.flat_map(|span| {
            let events = span.events.iter().flat_map(|event| &event.attributes);
            let links = span.links.iter().flat_map(|link| &link.attributes);
            span.attributes.iter().chain(events).chain(links)
        });
        attributes.map(|attribute| attribute.key.clone()).collect()
    }

    /// Returns the graph as text.
    pub fn text(&self) -> String {
        let mut order = Vec::new();
        for (index, found) in self.spans.iter().enumerate() {
            let has_parent = self.spans.iter().any(|other| other.span.span_id == found.span.parent_span_id);
            if !has_parent {
                self.add(index, 1, &mut order);
            }
        }
        let numbers: BTreeMap<&[u8], usize> =
            order.iter().enumerate().map(|(number, &(index, _))| (self.id(index), number + 1)).collect();
        let (mut text, mut traces) = (String::new(), Vec::new());
        for &(index, depth) in &order {
            let trace = &self.spans[index].span.trace_id;
            if traces.last() != Some(&trace) {
                traces.push(trace);
                let _ = writeln!(text, "trace {}", traces.len());
            }
            self.write(&mut text, index, depth, &numbers);
        }
        without_ids(&text)
    }

    fn id(&self, index: usize) -> &[u8] {
        &self.spans[index].span.span_id
    }

    fn add(&self, index: usize, depth: usize, order: &mut Vec<(usize, usize)>) {
        order.push((index, depth));
        for (child, found) in self.spans.iter().enumerate() {
            if found.span.parent_span_id == self.id(index) {
                self.add(child, depth + 1, order);
            }
        }
    }

    fn write(&self, text: &mut String, index: usize, depth: usize, numbers: &BTreeMap<&[u8], usize>) {
        let Collected { service, span } = &self.spans[index];
        let margin = "  ".repeat(depth);
        let (number, kind) = (numbers[self.id(index)], span.kind().as_str_name().trim_start_matches("SPAN_KIND_"));
        let _ = write!(text, "{margin}{number} {service}: {} ({})", self.named(&span.name), kind.to_lowercase());
        for (place, link) in span.links.iter().enumerate() {
            let linked = numbers.get(&*link.span_id).map_or_else(|| "outside".to_owned(), usize::to_string);
            let _ = write!(text, "{} {linked}", if place == 0 { " ->" } else { "," });
            for attribute in &link.attributes {
                let _ = write!(text, " [{} = {}]", attribute.key, self.value(attribute));
            }
        }
        let known = span.parent_span_id.is_empty() || numbers.contains_key(&*span.parent_span_id);
        let _ = writeln!(text, "{}", if known { "" } else { " below a span outside" });
        if let Some(status) = &span.status
            && status.code() != StatusCode::Unset
        {
            let code = status.code().as_str_name().trim_start_matches("STATUS_CODE_").to_lowercase();
            let _ = writeln!(text, "{margin}  {code}: {}", self.named(&status.message));
        }
        if self.is_brief(&self.spans[index]) {
            return;
        }
        for attribute in &span.attributes {
            let _ = writeln!(text, "{margin}  {} = {}", attribute.key, self.value(attribute));
        }
        for event in &span.events {
            let _ = write!(text, "{margin}  * {}", event.name);
            for attribute in &event.attributes {
                let _ = write!(text, " [{} = {}]", attribute.key, self.value(attribute));
            }
            text.push('\n');
        }
    }

    fn value(&self, attribute: &KeyValue) -> String {
        match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => self.named(text),
            // A number of RabbitMQ, which depends on the deliveries before.
            Some(Value::IntValue(_)) if attribute.key.ends_with(".delivery_tag") => "<tag>".to_owned(),
            Some(Value::IntValue(_)) if attribute.key == "server.port" => "<port>".to_owned(),
            Some(Value::IntValue(number)) => self.named(&number.to_string()),
            Some(Value::BoolValue(value)) => value.to_string(),
            // A time, which no other run repeats.
            Some(Value::DoubleValue(_)) => "<seconds>".to_owned(),
            Some(Value::ArrayValue(values)) => {
                let texts: Vec<_> = values.values.iter().map(|value| self.item(value)).collect();
                format!("[{}]", texts.join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    fn item(&self, value: &AnyValue) -> String {
        match &value.value {
            Some(Value::StringValue(text)) => self.named(text),
            other => format!("{other:?}"),
        }
    }

    fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }
}

/// Replaces each id by its number, in the order in which they appear.
fn without_ids(text: &str) -> String {
    const LENGTH: usize = 36;
    let mut ids: Vec<&str> = Vec::new();
    let (mut rest, mut replaced) = (text, String::new());
    while let Some(letter) = rest.chars().next() {
        match rest.get(..LENGTH).filter(|id| uuid::Uuid::try_parse(id).is_ok()) {
            Some(id) => {
                let number = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                    ids.push(id);
                    ids.len() - 1
                });
                let _ = write!(replaced, "<id {}>", number + 1);
                rest = &rest[LENGTH..];
            }
            None => {
                replaced.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    replaced
}

/// Returns `true` for a span of users' code, whose attributes are its place in their files.
fn is_users(found: &Collected) -> bool {
    found.span.kind() == SpanKind::Internal
}
