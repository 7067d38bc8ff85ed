//! `dead show`: prints one dead letter with its arguments and headers.

use std::fmt::Write;

use celeriac_admin::DeadLetter;
use celeriac_admin::dead::DeadLetterQuery;
use celeriac_protocol::{Codec, DecodeLimits, Message, Value};
use celeriac_telemetry::clock;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::source::DeadLetterSource;
use crate::args::ShowDeadArgs;
use crate::error::Error;
use crate::output;

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

pub(super) async fn run(source: &DeadLetterSource, args: &ShowDeadArgs, json: bool) -> Result<(), Error> {
    let filter =
        source.filter(DeadLetterQuery { id: Some(args.id.clone()), ..DeadLetterQuery::default() }, clock::now())?;
    for queue in &source.queues {
        let Some(mut search) = source.search(queue, &filter).await? else { continue };
        let found = search.next().await.map_err(Error::Broker)?;
        search.close().await.map_err(Error::Broker)?;
        if let Some((letter, message)) = found {
            let shown = DeadLetterDetails::new(letter, &message);
            output::answer(json, &shown, || shown.text());
            return Ok(());
        }
    }
    Err(super::remove::nobody(&args.id))
}

impl DeadLetterDetails {
    fn new(letter: DeadLetter, message: &Message) -> Self {
        let headers = message.headers.iter().map(|(name, value)| (name.to_owned(), json(value))).collect();
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
            Ok((args, kwargs)) => (shown.args, shown.kwargs) = (Some(args), Some(kwargs)),
            Err(reason) => (shown.unreadable, shown.body) = (Some(reason), Some(beginning(message))),
        }
        shown
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

fn arguments(mut message: Message) -> Result<(Json, Json), String> {
    let limits = DecodeLimits::default();
    // A message of protocol 1 has these headers in its body.
    message.read_headers(&limits, TimeZone::system).map_err(|error| error.to_string())?;
    let (body, _) = message.read_body(&limits).map_err(|error| error.to_string())?;
    Ok((json(&Value::List(body.args)), json(&Value::Map(body.kwargs))))
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
