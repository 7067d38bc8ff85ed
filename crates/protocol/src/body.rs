//! The body of a task: `[args, kwargs, embed]`.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::arguments::Arguments;
use crate::codec::Codec;
use crate::legacy;
use crate::value::{Map, Value, ValueError};

/// Bounds within which a body is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of a body.
    pub size: usize,
    /// Levels of nesting.
    pub depth: usize,
    /// Encodings that are read at all.
    pub accept: Accept,
}

/// Which encodings of bodies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// JSON.
    pub json: bool,
    /// MessagePack.
    pub msgpack: bool,
}

impl Accept {
    /// Everything that can be read.
    pub const ALL: Self = Self { json: true, msgpack: true };

    /// These alone.
    pub fn only(codecs: &[Codec]) -> Self {
        Self { json: codecs.contains(&Codec::Json), msgpack: codecs.contains(&Codec::Msgpack) }
    }

    fn takes(self, codec: Codec) -> bool {
        match codec {
            Codec::Json => self.json,
            Codec::Msgpack => self.msgpack,
        }
    }
}

impl DecodeLimits {
    /// Refuses an encoding that is not accepted.
    pub(crate) fn admit(&self, codec: Codec) -> Result<(), DecodeError> {
        if self.accept.takes(codec) {
            return Ok(());
        }
        Err(DecodeError::Refused {
            content_type: codec.content_type().to_owned(),
            reason: "worker.accept does not list it",
        })
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { size: 8 << 20, depth: 128, accept: Accept::ALL }
    }
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Named arguments.
    pub kwargs: Map,
    /// What the task carries with it: callbacks, errbacks, the rest of a chain, a chord. Kept as it came.
    pub embed: Value,
}

impl Body {
    /// Recognises the body of a task in a decoded value.
    ///
    /// # Errors
    /// When it is anything but a list of a list, an object, and an object or null; or the object of protocol 1.
    pub fn from_value(value: Value) -> Result<Self, DecodeError> {
        let shape = |found: String| Err(DecodeError::NotATask { found });
        let parts = match value {
            Value::List(parts) => parts,
            // Protocol 1, or what pretends to be protocol 2 with such a body.
            Value::Map(entries) if entries.contains_key("args") || entries.contains_key("task") => {
                return legacy::body(entries);
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

    /// The body of a call with these arguments that carries nothing else with it.
    ///
    /// # Errors
    /// When an argument cannot be represented.
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
            // A Python worker takes null as well, but an object is what it sends.
            Value::Null => body.serialize_element(&NoEntries)?,
            embed => body.serialize_element(embed)?,
        }
        body.end()
    }
}

/// A body that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An encoding that is not accepted.
    #[error("content type `{content_type}` is refused: {reason}")]
    Refused {
        /// The encoding.
        content_type: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A compression that is not accepted.
    #[error("compression `{compression}` is refused: accepted are gzip, which is zlib, bzip2 and zstd")]
    RefusedCompression {
        /// What it is called.
        compression: String,
    },
    /// More bytes than allowed.
    #[error("the body has {size} bytes, allowed are {limit}")]
    TooLarge {
        /// Its size. Of a compressed body, what was seen of it when it was given up.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// Bytes that the codec cannot read.
    #[error("the body is not valid {codec}: {reason}")]
    Malformed {
        /// Name of the codec.
        codec: &'static str,
        /// What it says.
        reason: String,
    },
    /// A readable value that is not the body of a task.
    #[error("the body should be [arguments, named arguments, embedded], got {found}")]
    NotATask {
        /// What it is.
        found: String,
    },
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
            let error = Codec::Json.decode_body(body, &DecodeLimits::default()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn deep_and_large_bodies_are_refused_within_bounds() {
        let deep_json = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let deep_msgpack = [vec![0x91; 100_000], vec![0xc0]].concat();
        let limits = DecodeLimits::default();
        assert!(matches!(Codec::Json.decode_body(&deep_json, &limits), Err(DecodeError::Malformed { .. })));
        assert!(matches!(Codec::Msgpack.decode_body(&deep_msgpack, &limits), Err(DecodeError::Malformed { .. })));
        // An array that announces four billion elements and has none.
        let hollow = [0xdd, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(Codec::Msgpack.decode_body(&hollow, &limits), Err(DecodeError::Malformed { .. })));
        let limits = DecodeLimits { size: 4, ..limits };
        assert_eq!(Codec::Json.decode_body(b"[[],{},{}]", &limits), Err(DecodeError::TooLarge { size: 10, limit: 4 }));
    }

    #[test]
    fn bytes_after_a_body_are_not_overlooked() {
        let mut body = Codec::Msgpack.encode(&Body::default()).unwrap();
        body.push(0xc0);
        assert!(Codec::Msgpack.decode_body(&body, &DecodeLimits::default()).is_err());
    }
}
