//! The arguments of a remote command. A wrong one is refused as Python refuses it.

use celeriac_protocol::control::exception;
use celeriac_protocol::{Map, Value};

/// A refusal of a command: an object with `error`.
pub(super) type Refusal = Value;

/// The arguments of a command, by name. Unknown ones are ignored, as Celery's commands do.
pub(super) struct CommandArguments {
    command: &'static str,
    values: Map,
}

impl CommandArguments {
    pub(super) fn new(command: &'static str, values: Map) -> Self {
        Self { command, values }
    }

    /// Takes an argument. Null is none.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.swap_remove(name).filter(|value| !value.is_null())
    }

    /// Refuses the command if an argument that it needs is missing.
    pub(super) fn need(&self, name: &str) -> Result<(), Refusal> {
        if self.values.get(name).is_some_and(|value| !value.is_null()) {
            return Ok(());
        }
        let text = format!("{}() missing 1 required positional argument: '{name}'", self.command);
        Err(exception("TypeError", text))
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.take(name).map(|value| self.read_text(name, value)).transpose()
    }

    /// Takes a text that the command needs.
    pub(super) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        self.need(name)?;
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// Takes a list of texts. A single text is a list too.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::List(items)) => items.into_iter().map(|item| self.read_text(name, item)).collect(),
            Some(single) => Ok(vec![self.read_text(name, single)?]),
        }
    }

    /// Takes a flag. Texts are those of a command line.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::Int(number)) => Ok(number != 0),
            Some(Value::Text(text)) if matches!(text.to_lowercase().as_str(), "true" | "yes" | "1" | "on") => Ok(true),
            Some(Value::Text(text)) if matches!(text.to_lowercase().as_str(), "false" | "no" | "0" | "off" | "") => {
                Ok(false)
            }
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// Takes a number. Texts are those of a command line.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.filter(|number| number.is_finite()).map(Some).ok_or_else(|| self.wrong(name, "a number", &value))
    }

    /// Takes a whole number that is not negative.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<usize>, Refusal> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
        let count = number.and_then(|number| usize::try_from(number).ok());
        count.map(Some).ok_or_else(|| self.wrong(name, "a whole number from 0", &value))
    }

    fn read_text(&self, name: &str, value: Value) -> Result<String, Refusal> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> Refusal {
        let found = match found.as_str() {
            Some(text) => format!("`{}`", text.chars().take(80).collect::<String>()),
            None => found.kind().to_owned(),
        };
        exception("TypeError", format!("{}(): {name} should be {expected}, got {found}", self.command))
    }
}
