//! The embed of a task: the calls that follow its end.

use super::{Signature, SignatureError};
use crate::value::{Map, Value};

/// The embed: the third part of a body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embed {
    /// Tasks to call with the result of a success.
    pub callbacks: Vec<Signature>,
    /// Tasks to call with the id of a failed task.
    pub errbacks: Vec<Signature>,
    /// The later steps, in the order in which they run. A message has them in reverse.
    pub chain: Vec<Signature>,
    /// The body of the chord that this task is a part of.
    pub chord: Option<Box<Signature>>,
    /// Other entries, kept as they arrived.
    pub other: Map,
}

impl Embed {
    /// Reads the third part of a body.
    ///
    /// # Errors
    /// Returns an error if it has another value in the place of a signature.
    pub fn read(value: &Value) -> Result<Self, SignatureError> {
        Self::from_value(value.clone())
    }

    /// Makes an embed of the third part of a body, without a copy.
    ///
    /// # Errors
    /// Returns an error if it has another value in the place of a signature.
    pub fn from_value(value: Value) -> Result<Self, SignatureError> {
        let entries = match value {
            Value::Null => return Ok(Self::default()),
            Value::Map(entries) => entries,
            other => return Err(SignatureError::new("embed", "an object", &other)),
        };
        let mut read = Self::default();
        for (key, value) in entries {
            match key.as_str() {
                "callbacks" => read.callbacks = Signature::list_from_value(&key, value)?,
                "errbacks" => read.errbacks = Signature::list_from_value(&key, value)?,
                "chain" => {
                    read.chain = Signature::list_from_value(&key, value)?;
                    read.chain.reverse();
                }
                "chord" if value.is_null() => {}
                "chord" => {
                    let chord = Signature::from_value(value).map_err(|error| error.within(&key))?;
                    read.chord = Some(Box::new(chord));
                }
                _ => drop(read.other.insert(key, value)),
            }
        }
        Ok(read)
    }

    /// Returns `true` if nothing follows from the task.
    pub fn is_empty(&self) -> bool {
        self.callbacks.is_empty() && self.errbacks.is_empty() && self.chain.is_empty() && self.chord.is_none()
    }
}

impl From<Embed> for Value {
    /// Returns an object with Celery's four keys, or an empty one for an empty embed.
    fn from(embed: Embed) -> Self {
        if embed.is_empty() && embed.other.is_empty() {
            return Self::Map(Map::new());
        }
        let Embed { callbacks, errbacks, mut chain, chord, other } = embed;
        chain.reverse();
        let list = |signatures: Vec<Signature>| match signatures.is_empty() {
            true => Self::Null,
            false => Self::List(signatures.into_iter().map(Self::from).collect()),
        };
        let own = [
            ("callbacks", list(callbacks)),
            ("errbacks", list(errbacks)),
            ("chain", list(chain)),
            ("chord", chord.map_or(Self::Null, |chord| (*chord).into())),
        ];
        Self::Map(own.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(other).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_stands_the_other_way_round_on_the_wire() {
        let text = r#"{"callbacks":null,"errbacks":null,
            "chain":[{"task":"last"},{"task":"next"}],"chord":null,"later":1}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let embed = Embed::read(&value).unwrap();
        assert_eq!(embed.chain.iter().map(|step| step.task.as_str()).collect::<Vec<_>>(), ["next", "last"]);
        assert_eq!(embed.other["later"], Value::Int(1));
        let written = Value::from(embed.clone());
        assert_eq!(Embed::read(&written).unwrap(), embed);
    }

    #[test]
    fn what_cannot_be_called_is_named_before_anything_runs() {
        let cases = [
            (r#"{"callbacks":"later"}"#, "`callbacks` should be a list of signatures, got a string"),
            (r#"{"errbacks":[{"task":"a"},7]}"#, "`errbacks[1].signature` should be an object, got an integer"),
            (r#"{"chord":[]}"#, "`chord.signature` should be an object, got a list"),
        ];
        for (text, message) in cases {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(Embed::read(&value).unwrap_err().to_string(), message);
        }
    }
}
