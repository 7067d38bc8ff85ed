//! Text.

use celeriac::prelude::*;
use celeriac::protocol::Value;

const PREFIX: &str = "fleet.text.";

pub(crate) fn tasks() -> Tasks {
    tasks![slug, greet, shorten, encode]
}

#[task(prefix = PREFIX)]
async fn slug(title: String) -> TaskResult<String> {
    let title = title.to_lowercase();
    let words = title.split(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit());
    Ok(words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-"))
}

#[task(prefix = PREFIX)]
async fn greet(name: String, #[default("Hello")] greeting: String) -> TaskResult<String> {
    Ok(format!("{greeting}, {name}!"))
}

#[task(prefix = PREFIX)]
async fn shorten(text: String, #[default(10)] width: usize, #[default("…")] end: String) -> TaskResult<String> {
    if text.chars().count() <= width {
        return Ok(text);
    }
    let kept = width.saturating_sub(end.chars().count());
    Ok(text.chars().take(kept).chain(end.chars()).collect())
}

/// A `Value`, because Python gets a `Vec<u8>` as a list.
#[task(prefix = PREFIX)]
async fn encode(text: String, #[default("utf-8")] encoding: String) -> TaskResult<Value> {
    match encoding.as_str() {
        "utf-8" => Ok(Value::Bytes(text.into_bytes())),
        "ascii" => ascii(text),
        _ => Err(TaskError::of_kind("LookupError", format!("unknown encoding: {encoding}"))),
    }
}

fn ascii(text: String) -> TaskResult<Value> {
    let Some(start) = text.chars().position(|letter| !letter.is_ascii()) else {
        return Ok(Value::Bytes(text.into_bytes()));
    };
    let end = start + text.chars().skip(start).take_while(|letter| !letter.is_ascii()).count();
    let args = value!(["ascii", text, start, end, "ordinal not in range(128)"]);
    Err(TaskError::of_kind("UnicodeEncodeError", "")
        .of_module("builtins")
        .with_args(args.as_list().unwrap_or_default().to_vec()))
}
