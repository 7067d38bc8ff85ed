//! `dead show`: prints one dead letter with its arguments and headers.

use std::fmt::Write;

use celeriac_admin::DeadLetter;
use celeriac_admin::dead::DeadLetterQuery;
use celeriac_protocol::headers::names;
use celeriac_protocol::redact::{REDACTED, RedactedValues, redact};
use celeriac_protocol::task::FieldPaths;
use celeriac_protocol::{Body, Codec, DecodeLimits, Message, Parameter, TaskOptions, Value};
use celeriac_telemetry::clock;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::source::DeadLetterSource;
use crate::args::ShowDeadArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;

/// Column of the values.
const VALUES: usize = 15;

/// A dead letter with its arguments and headers.
#[derive(Serialize)]
struct DeadLetterDetails {
    letter: DeadLetter,
    replays_to: String,
    expired: bool,
    args: Option<Json>,
    kwargs: Option<Json>,
    /// Problem of the body, if it cannot be decoded. `body` is its beginning.
    unreadable: Option<String>,
    body: Option<String>,
    headers: Map<String, Json>,
}

/// The arguments of a task that are not shown.
#[derive(Default)]
struct Hidden {
    paths: Option<FieldPaths>,
    parameters: Option<&'static [Parameter]>,
}

impl Hidden {
    /// Returns those of a task of this program, or else what the configuration says.
    fn of(program: &Program, task: Option<&str>) -> Self {
        let Some(task) = task else { return Self::default() };
        let (paths, parameters) = match program.registry.get(task) {
            Some(task) => (task.options.redact.clone(), task.parameters()),
            None => (program.overrides.apply(task, TaskOptions::default()).redact, None),
        };
        Self { paths: paths.filter(|paths| !paths.is_empty()), parameters }
    }
}

pub(super) async fn run(
    program: &Program,
    source: &DeadLetterSource,
    args: &ShowDeadArgs,
    json: bool,
) -> Result<(), Error> {
    let filter =
        source.filter(DeadLetterQuery { id: Some(args.id.clone()), ..DeadLetterQuery::default() }, clock::now())?;
    for queue in &source.queues {
        let Some(mut search) = source.search(queue, &filter).await? else { continue };
        let found = search.next().await.map_err(Error::Broker)?;
        search.close().await.map_err(Error::Broker)?;
        if let Some((letter, message)) = found {
            let hidden = Hidden::of(program, letter.task.as_deref());
            let shown = DeadLetterDetails::new(letter, &message, &hidden);
            output::answer(json, &shown, || shown.text());
            return Ok(());
        }
    }
    Err(super::remove::nobody(&args.id))
}

impl DeadLetterDetails {
    fn new(letter: DeadLetter, message: &Message, hidden: &Hidden) -> Self {
        let header = |name: &str, value| match hidden.paths {
            // Celery's headers for people.
            Some(_) if [names::ARGSREPR, names::KWARGSREPR].contains(&name) => REDACTED.into(),
            _ => json(value),
        };
        let headers = message.headers.iter().map(|(name, value)| (name.to_owned(), header(name, value))).collect();
        let mut shown = Self {
            replays_to: letter.queue.clone(),
            expired: letter.expires.is_some_and(|expires| expires <= clock::now()),
            args: None,
            kwargs: None,
            unreadable: None,
            body: None,
            headers,
            letter,
        };
        match arguments(message.clone()) {
            Ok(mut body) => {
                if let Some(paths) = &hidden.paths {
                    let values = redact(paths, hidden.parameters, &mut body.args, &mut body.kwargs);
                    shown.hide(&values);
                }
                let (args, kwargs) = (json(&Value::List(body.args)), json(&Value::Map(body.kwargs)));
                (shown.args, shown.kwargs) = (Some(args), Some(kwargs));
            }
            Err(reason) => {
                let body = if hidden.paths.is_some() { REDACTED.to_owned() } else { beginning(message) };
                (shown.unreadable, shown.body) = (Some(reason), Some(body));
            }
        }
        shown
    }

    /// Replaces values of arguments in the error, which a worker of another program may have
    /// written.
    fn hide(&mut self, values: &RedactedValues) {
        let shown = |error: &String| values.remove_from(error).into_owned();
        self.letter.error = self.letter.error.as_ref().map(shown);
        if let Some(Json::String(error)) = self.headers.get_mut(names::DEAD_ERROR) {
            *error = shown(error);
        }
    }

    fn text(&self) -> String {
        let letter = &self.letter;
        let mut text = format!(
            "{}[{}]\n",
            output::one_line(letter.task.as_deref().unwrap_or("(unreadable)")),
            output::one_line(letter.id.as_deref().unwrap_or("no id"))
        );
        let mut line = |name: &str, value: &str| {
            let value = output::indented(value, VALUES);
            let _ = writeln!(text, "  {name:<12} {value}");
        };
        line("reason", &letter.reason);
        line("error", letter.error.as_deref().unwrap_or("-"));
        line("died", &letter.at.map_or_else(|| "-".to_owned(), |at| at.to_string()));
        line("worker", letter.worker.as_deref().unwrap_or("-"));
        line("attempts", &letter.attempts.to_string());
        line("replays", &letter.replays.to_string());
        line("dead queue", &letter.dead_queue);
        let exchange = if letter.exchange.is_empty() { "(default)" } else { &letter.exchange };
        line("sent to", &format!("exchange {exchange}, routing key {}", letter.routing_key));
        line("replays to", &self.replays_to);
        if self.expired {
            line("expired", "a replay expires again unless --drop-expires is given");
        }
        for (name, value) in [("args", &self.args), ("kwargs", &self.kwargs)] {
            if let Some(value) = value {
                line(name, &value.to_string());
            }
        }
        if let (Some(reason), Some(body)) = (&self.unreadable, &self.body) {
            line("unreadable", reason);
            line("body", body);
        }
        line("headers", "");
        for (name, value) in &self.headers {
            line("", &format!("{}: {value}", output::one_line(name)));
        }
        text
    }
}

fn arguments(mut message: Message) -> Result<Body, String> {
    let limits = DecodeLimits::default();
    // A message of protocol 1 has these headers in its body.
    message.read_headers(&limits, TimeZone::system).map_err(|error| error.to_string())?;
    let (body, _) = message.read_body(&limits).map_err(|error| error.to_string())?;
    Ok(body)
}

/// Converts a value to JSON. A value that JSON lacks becomes text.
fn json(value: &Value) -> Json {
    let encoded = Codec::Json.encode_value(value).ok();
    let read = encoded.and_then(|encoded| serde_json::from_slice(&encoded).ok());
    read.unwrap_or_else(|| Json::String(format!("{value:?}")))
}

/// Returns the beginning of a body, escaped.
fn beginning(message: &Message) -> String {
    const SHOWN: usize = 300;
    let body = &message.body[..message.body.len().min(SHOWN)];
    String::from_utf8_lossy(body).escape_debug().to_string()
}
