//! Reads JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use super::{NAME, TYPE, VALUE};
use crate::codec_error::DecodeError;
use crate::value::{KombuValue, MOST_DIGITS, Map, Value};

/// Reads one value and nothing after it, nested at most `depth` deep.
///
/// Memory grows only with the content that was read, because JSON announces no lengths.
pub(crate) fn decode(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let mut reader = JsonReader { json: Jiter::new(bytes).with_allow_inf_nan() };
    reader.document(depth).map_err(|problem| DecodeError::Malformed { codec: NAME, reason: reader.describe(problem) })
}

/// An error in a document.
enum JsonProblem {
    /// The syntax is invalid.
    Syntax(JiterError),
    /// The content is invalid, at the reader's present position.
    Content(String),
}

impl From<JiterError> for JsonProblem {
    fn from(error: JiterError) -> Self {
        Self::Syntax(error)
    }
}

struct JsonReader<'a> {
    json: Jiter<'a>,
}

impl JsonReader<'_> {
    fn document(&mut self, depth: usize) -> Result<Value, JsonProblem> {
        let first = self.json.peek()?;
        let value = self.value(first, depth)?;
        self.json.finish()?;
        Ok(value)
    }

    fn value(&mut self, first: Peek, depth: usize) -> Result<Value, JsonProblem> {
        match first {
            Peek::Null => {
                self.json.known_null()?;
                Ok(Value::Null)
            }
            Peek::True | Peek::False => Ok(Value::Bool(self.json.known_bool(first)?)),
            Peek::String => Ok(Value::Text(self.json.known_str()?.to_owned())),
            Peek::Array => self.list(deeper(depth)?),
            Peek::Object => self.object(deeper(depth)?),
            _ => number(self.json.known_number_bytes(first)?),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, JsonProblem> {
        let mut items = Vec::new();
        let mut next = self.json.known_array()?;
        while let Some(first) = next {
            items.push(self.value(first, depth)?);
            next = self.json.array_step()?;
        }
        Ok(Value::List(items))
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonProblem> {
        let mut entries = Map::new();
        let mut next = self.json.known_object()?.map(str::to_owned);
        while let Some(key) = next {
            let first = self.json.peek()?;
            let value = self.value(first, depth)?;
            // The last of several equal keys counts, as in Python.
            entries.insert(key, value);
            next = self.json.next_key()?.map(str::to_owned);
        }
        if entries.len() == 2 && entries.contains_key(TYPE) && entries.contains_key(VALUE) {
            return extended(entries).map_err(JsonProblem::Content);
        }
        Ok(Value::Map(entries))
    }

    fn describe(&self, problem: JsonProblem) -> String {
        match problem {
            JsonProblem::Content(reason) => format!("{reason} at {}", self.json.current_position()),
            JsonProblem::Syntax(error) => {
                let place = self.json.error_position(error.index);
                match error.error_type {
                    JiterErrorType::JsonError(
                        JsonErrorType::LoneLeadingSurrogateInHexEscape | JsonErrorType::UnexpectedEndOfHexEscape,
                    ) => format!("half a surrogate pair, which is no character, at {place}"),
                    JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => {
                        format!("a number of more than {MOST_DIGITS} digits at {place}")
                    }
                    other => format!("{other} at {place}"),
                }
            }
        }
    }
}

fn deeper(depth: usize) -> Result<usize, JsonProblem> {
    depth.checked_sub(1).ok_or_else(|| JsonProblem::Content("nested too deep".to_owned()))
}

/// Returns the number of a literal. An integer stays an integer, whatever its size.
fn number(literal: &[u8]) -> Result<Value, JsonProblem> {
    let invalid = || JsonProblem::Content("invalid number".to_owned());
    let text = std::str::from_utf8(literal).map_err(|_| invalid())?;
    match text {
        "NaN" => Ok(Value::Float(f64::NAN)),
        "Infinity" => Ok(Value::Float(f64::INFINITY)),
        "-Infinity" => Ok(Value::Float(f64::NEG_INFINITY)),
        _ if text.contains(['.', 'e', 'E']) => text.parse().map(Value::Float).map_err(|_| invalid()),
        _ => Value::from_digits(text).map_err(|error| JsonProblem::Content(error.to_string())),
    }
}

/// Returns the value of kombu's pair of `__type__` and `__value__`.
fn extended(mut entries: Map) -> Result<Value, String> {
    let name = match entries.swap_remove(TYPE) {
        Some(Value::Text(name)) => name,
        other => return Err(format!("`{TYPE}` should be a string, got {}", other.unwrap_or_default().kind())),
    };
    let text = match (name.as_str(), entries.swap_remove(VALUE)) {
        ("uuid", Some(Value::Map(mut fields))) if fields.len() == 1 => match fields.swap_remove("hex") {
            Some(Value::Text(hex)) => hex,
            _ => return Err(format!("a uuid should have its `hex` as `{VALUE}`")),
        },
        ("uuid", _) => return Err(format!("a uuid should have its `hex` as `{VALUE}`")),
        (_, Some(Value::Text(text))) => text,
        (_, other) => {
            let name = shortened(&name);
            let kind = other.unwrap_or_default().kind();
            return Err(format!("`{VALUE}` of `{TYPE}` `{name}` should be a string, got {kind}"));
        }
    };
    match name.as_str() {
        "bytes" => Ok(Value::Bytes(text.into_bytes())),
        "base64" => BASE64_STANDARD
            .decode(text)
            .map(Value::Bytes)
            .map_err(|error| format!("`{VALUE}` is not valid base64: {error}")),
        _ => match KombuValue::named(&name, text) {
            Some(typed) => typed.map(Value::Kombu).map_err(|error| error.to_string()),
            None => Err(format!("unknown `{TYPE}` `{}`", shortened(&name))),
        },
    }
}

fn shortened(name: &str) -> String {
    const SHOWN: usize = 40;
    name.chars().take(SHOWN).collect()
}
