//! The body of a task: `[args, kwargs, embed]`.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::arguments::{Arguments, Parameter, spread};
use crate::codec::{Codec, DecodeLimits};
use crate::codec_error::{DecodeError, EncodeError};
use crate::task::Task;
use crate::value::{Map, Value, ValueError};

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Named arguments.
    pub kwargs: Map,
    /// The embed: callbacks, errbacks, the rest of a chain, a chord. Kept as it arrived.
    pub embed: Value,
}

impl Body {
    /// Decodes the body of a task.
    ///
    /// # Errors
    /// Returns an error if the body is too large, too deep, not well-formed, or not that of a task.
    pub fn decode(codec: Codec, bytes: &[u8], limits: &DecodeLimits) -> Result<Self, DecodeError> {
        Self::from_value(codec.decode_value(bytes, limits)?)
    }

    /// Reads a decoded value as the body of a task.
    ///
    /// # Errors
    /// Returns an error unless the value is the object of protocol 1, or a list of a list, an
    /// object, and an object or null.
    pub fn from_value(value: Value) -> Result<Self, DecodeError> {
        let shape = |found: String| Err(DecodeError::NotATask { found });
        let parts = match value {
            Value::List(parts) => parts,
            // Protocol 1, or a message of protocol 2 with such a body.
            Value::Map(entries) if entries.contains_key("args") || entries.contains_key("task") => {
                return from_object(entries);
            }
            other => return shape(other.kind().to_owned()),
        };
        let count = parts.len();
        let Ok([args, kwargs, embed]) = <[Value; 3]>::try_from(parts) else {
            return shape(format!("a list of {count}"));
        };
        match (args, kwargs, embed) {
            (Value::List(args), Value::Map(kwargs), embed @ (Value::Map(_) | Value::Null)) => {
                Ok(Self { args, kwargs, embed })
            }
            (args, kwargs, embed) => shape(format!("[{}, {}, {}]", args.kind(), kwargs.kind(), embed.kind())),
        }
    }

    /// Encodes the body. Its values move through a list and back, because a copy would take as much
    /// memory as they do.
    ///
    /// # Errors
    /// Returns an error if the codec cannot represent a value.
    pub fn encode(&mut self, codec: Codec) -> Result<Vec<u8>, EncodeError> {
        let embed = match std::mem::take(&mut self.embed) {
            // A Python worker accepts null too, but an object is what Python sends.
            Value::Null => Value::Map(Map::new()),
            embed => embed,
        };
        let (args, kwargs) = (std::mem::take(&mut self.args), std::mem::take(&mut self.kwargs));
        let body = Value::List(vec![Value::List(args), Value::Map(kwargs), embed]);
        let encoded = codec.encode_value(&body);
        if let Ok(body) = Self::from_value(body) {
            *self = body;
        }
        encoded
    }

    /// Returns the body of a call of a task, and an empty embed. The last parameters may take any
    /// number of arguments.
    ///
    /// # Errors
    /// Returns an error if an argument cannot be represented.
    pub fn of_task<T: Task>(args: &T::Args) -> Result<Self, ValueError> {
        Self::of_call(args)?.spread(T::parameters())
    }

    /// Returns the same body, if its arguments are the values of these parameters, some of which
    /// may take any number of arguments.
    ///
    /// # Errors
    /// Returns an error if an argument is given twice.
    #[doc(hidden)]
    pub fn spread(self, parameters: &[Parameter]) -> Result<Self, ValueError> {
        let (args, kwargs) = spread(parameters, self.args)?;
        Ok(Self { args, kwargs, ..self })
    }

    /// Returns the body of a call with these arguments and an empty embed.
    ///
    /// # Errors
    /// Returns an error if an argument cannot be represented.
    pub fn of_call<A: Arguments>(args: &A) -> Result<Self, ValueError> {
        struct Positional<'a, A>(&'a A);
        impl<A: Arguments> Serialize for Positional<'_, A> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize_list(serializer)
            }
        }
        match Value::from_serialize(&Positional(args))? {
            Value::List(args) => Ok(Self { args, ..Self::default() }),
            other => Ok(Self { args: vec![other], ..Self::default() }),
        }
    }
}

/// Reads a body that is an object: protocol 1, or a message of protocol 2 with such a body.
fn from_object(mut entries: Map) -> Result<Body, DecodeError> {
    let args = match entries.swap_remove("args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::List(args)) => args,
        Some(other) => {
            return Err(DecodeError::NotATask { found: format!("an object whose args are {}", other.kind()) });
        }
    };
    let kwargs = match entries.swap_remove("kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Map(kwargs)) => kwargs,
        Some(other) => {
            return Err(DecodeError::NotATask { found: format!("an object whose kwargs are {}", other.kind()) });
        }
    };
    let embed = ["callbacks", "errbacks", "chain", "chord"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), entries.swap_remove(key)?)))
        .collect();
    Ok(Body { args, kwargs, embed: Value::Map(embed) })
}

struct NoEntries;

impl Serialize for NoEntries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        serializer.serialize_map(Some(0))?.end()
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_seq(Some(3))?;
        body.serialize_element(&self.args)?;
        body.serialize_element(&self.kwargs)?;
        match &self.embed {
            // A Python worker accepts null too, but an object is what Python sends.
            Value::Null => body.serialize_element(&NoEntries)?,
            embed => body.serialize_element(embed)?,
        }
        body.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_written_as_celery_writes_it() {
        let json = Codec::Json.encode(&Body::of_call(&(1_i64, "two".to_owned())).unwrap()).unwrap();
        assert_eq!(json, br#"[[1,"two"],{},{}]"#);
        let nothing = Codec::Json.encode(&Body::of_call(&()).unwrap()).unwrap();
        assert_eq!(nothing, b"[[],{},{}]");
        let msgpack = Codec::Msgpack.encode(&Body::of_call(&(1_u8, 2_u8)).unwrap()).unwrap();
        assert_eq!(msgpack, [0x93, 0x92, 1, 2, 0x80, 0x80]);
    }

    #[test]
    fn a_body_is_encoded_without_a_copy_as_it_is_with_one() {
        let embed: Value = serde_json::from_str(r#"{"callbacks":[{"task":"a"}]}"#).unwrap();
        for embed in [embed, Value::Null] {
            for codec in [Codec::Json, Codec::Msgpack] {
                let mut body = Body::of_call(&(1_i64, "two".to_owned())).unwrap();
                body.kwargs.insert("x".to_owned(), Value::Null);
                body.embed = embed.clone();
                let copied = codec.encode(&body).unwrap();
                let args = body.args.clone();
                assert_eq!(body.encode(codec).unwrap(), copied);
                assert_eq!((body.args.len(), body.args), (2, args));
                assert!(body.kwargs.contains_key("x"));
            }
        }
    }

    #[test]
    fn what_is_not_the_body_of_a_task_is_said_so() {
        let cases: [(&[u8], &str); 9] = [
            (b"", "the body is not valid JSON: EOF while parsing a value at line 1 column 0"),
            (b"{", "the body is not valid JSON: EOF while parsing an object at line 1 column 1"),
            (b"null", "the body should be [arguments, named arguments, embedded], got null"),
            (b"42", "the body should be [arguments, named arguments, embedded], got an integer"),
            (b"[1]", "the body should be [arguments, named arguments, embedded], got a list of 1"),
            (b"[[1,2],{}]", "the body should be [arguments, named arguments, embedded], got a list of 2"),
            (
                b"[{},{},{}]",
                "the body should be [arguments, named arguments, embedded], got [an object, an object, an object]",
            ),
            (
                b"[[],[],{}]",
                "the body should be [arguments, named arguments, embedded], got [a list, a list, an object]",
            ),
            (
                b"[[],{},\"x\"]",
                "the body should be [arguments, named arguments, embedded], got [a list, an object, a string]",
            ),
        ];
        for (body, message) in cases {
            let error = Body::decode(Codec::Json, body, &DecodeLimits::default()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn deep_and_large_bodies_are_refused_within_bounds() {
        let deep_json = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let deep_msgpack = [vec![0x91; 100_000], vec![0xc0]].concat();
        let limits = DecodeLimits::default();
        assert!(matches!(Body::decode(Codec::Json, &deep_json, &limits), Err(DecodeError::Malformed { .. })));
        assert!(matches!(Body::decode(Codec::Msgpack, &deep_msgpack, &limits), Err(DecodeError::Malformed { .. })));
        // An array that announces four billion elements and has none.
        let hollow = [0xdd, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Body::decode(Codec::Msgpack, &hollow, &limits), Err(DecodeError::Malformed { .. })));
        let limits = DecodeLimits { size: 4, ..limits };
        assert_eq!(
            Body::decode(Codec::Json, b"[[],{},{}]", &limits),
            Err(DecodeError::TooLarge { size: 10, limit: 4 })
        );
    }

    #[test]
    fn bytes_after_a_body_are_not_overlooked() {
        let mut body = Codec::Msgpack.encode(&Body::default()).unwrap();
        body.push(0xc0);
        assert!(Body::decode(Codec::Msgpack, &body, &DecodeLimits::default()).is_err());
    }
}
