//! Log lines: text for people, or one JSON object a line.
//!
//! Both formats have the same parts: time, level, target, phrase, fields. The fields include those
//! of the task's span, each once.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use celeriac_config::duration;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::error::ErrorChain;
use crate::kept::{self, LineBuffer};
use crate::options::LogFormat;
use crate::trace::TASK_TARGET;

/// Suffix of the name of a field that is a time.
const SECONDS: &str = "_seconds";

/// Prefix of a field of the task whose name the line has too. A line about a task that a running
/// task sends has fields of both: the running task is the parent.
const PARENT: &str = "parent_";

/// A layer that writes log lines.
pub(crate) struct LogLayer<W> {
    pub(crate) format: LogFormat,
    /// True to color text, for a terminal.
    pub(crate) color: bool,
    pub(crate) writer: W,
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
            if span.metadata().target() == TASK_TARGET
                && let Some(buffer) = kept::next()
            {
                span.extensions_mut().replace(buffer);
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Line { metadata: event.metadata(), spans: Vec::new(), fields };
        let (mut task, mut buffer) = (Fields::default(), None);
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let Some(fields) = extensions.get::<Fields>() else { continue };
            if span.metadata().target() == TASK_TARGET {
                task = fields.clone();
                buffer = extensions.get::<LineBuffer>().cloned();
            } else {
                line.spans.insert(0, (span.name(), fields.clone()));
            }
        }
        if let Some(buffer) = buffer {
            // Without the fields of the task, which its row has.
            buffer.push(line.text(false));
        }
        line.add_task(task);
        let written = match self.format {
            LogFormat::Text => line.text(self.color),
            LogFormat::Json => line.json(),
        };
        // An error of the log output cannot be logged.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(written.as_bytes());
    }
}

/// The fields of a line or a span, in their order.
#[derive(Debug, Clone, Default)]
struct Fields {
    message: String,
    named: Vec<(String, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            ("message", message) => self.message = message.to_string(),
            (name, value) => match self.named.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value,
                None => self.named.push((name.to_owned(), value)),
            },
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, ErrorChain(value).to_string().into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

/// A log line that is not written yet.
struct Line<'a> {
    metadata: &'a Metadata<'static>,
    /// The spans around the line, outermost first, without that of the task.
    spans: Vec<(&'a str, Fields)>,
    fields: Fields,
}

impl Line<'_> {
    /// Adds the fields of the task's span, except those that the line has with the same value.
    fn add_task(&mut self, task: Fields) {
        for (name, value) in task.named {
            match self.fields.get(&name) {
                None => self.fields.named.push((name, value)),
                Some(own) if *own == value => {}
                Some(_) => self.fields.named.push((format!("{PARENT}{name}"), value)),
            }
        }
    }

    fn text(&self, color: bool) -> String {
        let paint = |code: &str, text: &str| match color {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        let level = *self.metadata.level();
        let level_color = match level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            Level::DEBUG => "34",
            Level::TRACE => "35",
        };
        let (time, level) = (paint("2", &timestamp()), paint(level_color, &format!("{level:>5}")));
        let mut text = format!("{time} {level} {}", paint("2", &format!("{}:", self.metadata.target())));
        for (name, fields) in &self.spans {
            let fields: Vec<_> = fields.named.iter().map(|(name, value)| self.field(name, value, &paint)).collect();
            text.push_str(&format!(" {name}{{{}}}:", fields.join(" ")));
        }
        if !self.fields.message.is_empty() {
            text.push(' ');
            // Control characters are escaped, because text of a message must not control a
            // terminal.
            text.extend(self.fields.message.chars().flat_map(|letter| {
                let kept = !letter.is_control() || matches!(letter, '\n' | '\t');
                let escaped = (!kept).then(|| letter.escape_default());
                kept.then_some(letter).into_iter().chain(escaped.into_iter().flatten())
            }));
        }
        for (name, value) in &self.fields.named {
            text.push(' ');
            text.push_str(&self.field(name, value, &paint));
        }
        text.push('\n');
        text
    }

    fn field(&self, name: &str, value: &Value, paint: &impl Fn(&str, &str) -> String) -> String {
        match self.time(name, value) {
            Some((name, time)) => format!("{}={}", paint("3", name), plain_or_quoted(&duration::approximate(time))),
            None => {
                let value = value.as_str().map_or_else(|| value.to_string(), plain_or_quoted);
                format!("{}={value}", paint("3", name))
            }
        }
    }

    /// Returns name and value of a field that is a time. Returns `None` for lines of the program's
    /// own modules, whose names mean what the program says.
    fn time<'a>(&self, name: &'a str, value: &Value) -> Option<(&'a str, Duration)> {
        let own = self.metadata.target().starts_with("celeriac::");
        let name = name.strip_suffix(SECONDS).filter(|_| own)?;
        Some((name, Duration::try_from_secs_f64(value.as_f64()?).ok()?))
    }

    fn json(&self) -> String {
        let member = |(name, value): &(String, Value)| format!("{}:{value}", Value::from(name.as_str()));
        let head = [
            ("timestamp", timestamp()),
            ("level", self.metadata.level().to_string()),
            ("target", self.metadata.target().to_owned()),
            ("message", self.fields.message.clone()),
        ];
        let mut members: Vec<_> =
            head.into_iter().map(|(name, value)| member(&(name.to_owned(), value.into()))).collect();
        members.extend(self.fields.named.iter().map(member));
        if !self.spans.is_empty() {
            let spans = self.spans.iter().map(|(name, fields)| {
                let name = member(&("name".to_owned(), (*name).into()));
                let members: Vec<_> = std::iter::once(name).chain(fields.named.iter().map(member)).collect();
                format!("{{{}}}", members.join(","))
            });
            members.push(format!("\"spans\":[{}]", spans.collect::<Vec<_>>().join(",")));
        }
        format!("{{{}}}\n", members.join(","))
    }
}

fn timestamp() -> String {
    format!("{:.6}", clock::now())
}

/// Returns the value, in quotes if it could be read as several fields.
fn plain_or_quoted(text: &str) -> String {
    let is_plain = |letter: char| !letter.is_whitespace() && !letter.is_control() && !matches!(letter, '"' | '=');
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing::info;

    use crate::options::LogOptions;
    use crate::setup::testing::{Captured, subscriber};

    /// Returns the lines of `work` as text, each starting with its level.
    fn lines(work: impl FnOnce()) -> Vec<String> {
        let captured = Captured::default();
        tracing::dispatcher::with_default(&subscriber(&LogOptions::default(), captured.clone(), None), work);
        captured.text().lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn a_value_is_quoted_where_it_could_be_taken_for_more() {
        let written = lines(|| {
            info!(target: "t", plain = "a.b-c/d", two = "a b", none = "", pair = "a=b", line = "a\nb", n = 7, "told");
        });
        assert_eq!(written, [r#"INFO t: told plain=a.b-c/d two="a b" none="" pair="a=b" line="a\nb" n=7"#]);
    }

    #[test]
    fn an_error_is_written_with_its_causes() {
        let error = crate::Error::Flush { source: Box::new(io::Error::other("timed out")) };
        let written = lines(|| info!(target: "t", error = &error as &dyn std::error::Error, "told"));
        assert_eq!(written, [r#"INFO t: told error="cannot send the last traces and metrics: timed out""#]);
    }

    #[test]
    fn seconds_of_celeriac_are_written_as_a_time_and_those_of_others_as_they_are() {
        let written = lines(|| {
            info!(target: "celeriac::test", after_seconds = 0.022_946_036, "told");
            info!(target: "celeriac_shop", after_seconds = 0.25, "told");
        });
        assert_eq!(written, ["INFO celeriac::test: told after=22.9ms", "INFO celeriac_shop: told after_seconds=0.25"]);
    }

    #[test]
    fn a_message_cannot_control_a_terminal() {
        assert_eq!(lines(|| info!(target: "t", "a\u{1b}[31mb")), ["INFO t: a\\u{1b}[31mb"]);
    }

    #[test]
    fn spans_stand_before_the_target_s_message_and_take_up_what_is_recorded_later() {
        let written = lines(|| {
            let outer = tracing::info_span!(target: "t", "outer", a = 1, b = tracing::field::Empty);
            outer.record("b", 2);
            let _outer = outer.entered();
            tracing::info_span!(target: "t", "inner").in_scope(|| info!(target: "t", "told"));
        });
        assert_eq!(written, ["INFO t: outer{a=1 b=2}: inner{}: told"]);
    }
}
