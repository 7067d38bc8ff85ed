//! Arguments of a call: tuples in Rust, positions and names in a message.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeSeq, Serializer};

use crate::value::{Map, Value, ValueError};

/// One parameter of a task.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name.
    pub name: &'static str,
    /// The value for a call without this argument. `None` for a required parameter.
    pub default: Option<fn() -> Value>,
    /// The arguments that it takes in place of one.
    pub rest: Option<Rest>,
}

/// The arguments that match no other parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Those by position, as a list: Python's `*args`.
    Positional,
    /// Those by name, as a map: Python's `**kwargs`.
    Named,
}

impl Parameter {
    /// Returns a parameter that every call must give.
    pub const fn required(name: &'static str) -> Self {
        Self { name, default: None, rest: None }
    }

    /// Returns a parameter that a call may omit.
    pub const fn optional(name: &'static str, default: fn() -> Value) -> Self {
        Self { name, default: Some(default), rest: None }
    }

    /// Returns a parameter that takes all arguments which match no other one. It comes after the
    /// others, and that of the arguments by name is the last.
    pub const fn rest(name: &'static str, rest: Rest) -> Self {
        Self { name, default: None, rest: Some(rest) }
    }
}

/// A value that is an argument or a result of a task. A type with serde's derives is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument or a result of a task",
    label = "cannot be written to a message and read from it",
    note = "derive it: `#[derive(serde::Serialize, serde::Deserialize)]`, after `cargo add serde --features derive`",
    note = "if the type is from another crate, see whether that crate has a feature `serde`"
)]
pub trait TaskValue: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> TaskValue for T {}

/// The arguments of a task: a tuple of up to twelve values.
pub trait Arguments: Sized + Send + 'static {
    /// Writes the arguments as a list.
    ///
    /// # Errors
    /// Returns an error if one of them refuses to be serialised.
    fn serialize_list<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Binds the arguments of a message to the parameters, as Python would.
    ///
    /// # Errors
    /// Returns an error if an argument is missing, unexpected, given twice, or of the wrong type.
    fn bind(parameters: &[Parameter], args: Vec<Value>, kwargs: Map) -> Result<Self, ArgumentError>;
}

/// Arguments that do not fit the task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A required argument was not given.
    #[error("missing argument `{name}`")]
    Missing {
        /// The parameter.
        name: &'static str,
    },
    /// There are more positional arguments than parameters.
    #[error("takes {expected} arguments, got {found}")]
    TooMany {
        /// Number of parameters.
        expected: usize,
        /// Number of positional arguments.
        found: usize,
    },
    /// A named argument matches no parameter.
    #[error("unexpected argument `{name}`, known are: {known}")]
    Unexpected {
        /// The name.
        name: String,
        /// The parameters.
        known: String,
    },
    /// An argument was given both by position and by name.
    #[error("argument `{name}` is given twice")]
    Twice {
        /// The parameter.
        name: &'static str,
    },
    /// An argument has the wrong type.
    #[error("argument `{name}`: {reason}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// The reason.
        reason: String,
    },
}

/// Sorts arguments by position and by name into the order of the parameters.
fn arrange(parameters: &[Parameter], args: Vec<Value>, mut kwargs: Map) -> Result<Vec<Value>, ArgumentError> {
    let (single, rest) = split_rest(parameters);
    let mut arranged = args;
    let beyond = arranged.split_off(single.len().min(arranged.len()));
    if let Some(twice) = single[..arranged.len()].iter().find(|parameter| kwargs.contains_key(parameter.name)) {
        return Err(ArgumentError::Twice { name: twice.name });
    }
    for parameter in &single[arranged.len()..] {
        // The arguments that stay keep their order, as in Python.
        let value = kwargs.shift_remove(parameter.name).or_else(|| parameter.default.map(|default| default()));
        arranged.push(value.ok_or(ArgumentError::Missing { name: parameter.name })?);
    }
    let takes = |kind| rest.iter().any(|parameter| parameter.rest == Some(kind));
    match takes(Rest::Positional) {
        true => arranged.push(Value::List(beyond)),
        false if beyond.is_empty() => {}
        false => {
            let (expected, found) = (single.len(), single.len() + beyond.len());
            return Err(ArgumentError::TooMany { expected, found });
        }
    }
    match takes(Rest::Named) {
        true => arranged.push(Value::Map(kwargs)),
        false => {
            if let Some((name, _)) = kwargs.into_iter().next() {
                let known: Vec<_> = single.iter().map(|parameter| parameter.name).collect();
                return Err(ArgumentError::Unexpected { name, known: known.join(", ") });
            }
        }
    }
    Ok(arranged)
}

/// Returns the parameters of one argument each, and those of all others.
fn split_rest(parameters: &[Parameter]) -> (&[Parameter], &[Parameter]) {
    let single = parameters.iter().position(|parameter| parameter.rest.is_some()).unwrap_or(parameters.len());
    parameters.split_at(single)
}

/// Puts the values of the last parameters, a list and a map, among the arguments of a message.
///
/// # Errors
/// Returns an error if an argument by name has the name of a parameter.
pub(crate) fn spread(parameters: &[Parameter], values: Vec<Value>) -> Result<(Vec<Value>, Map), ValueError> {
    let (single, rest) = split_rest(parameters);
    let (mut args, mut kwargs) = (values, Map::new());
    let beyond = args.split_off(single.len().min(args.len()));
    for (parameter, value) in rest.iter().zip(beyond) {
        match (parameter.rest, value) {
            (Some(Rest::Positional), Value::List(values)) => args.extend(values),
            (Some(Rest::Named), Value::Map(entries)) => kwargs = entries,
            (_, other) => {
                let (name, kind) = (parameter.name, other.kind());
                return Err(ValueError::new(format_args!("`{name}` should be a list or a map, got {kind}")));
            }
        }
    }
    match single.iter().find(|parameter| kwargs.contains_key(parameter.name)) {
        None => Ok((args, kwargs)),
        Some(twice) => Err(ValueError::new(format_args!("argument `{}` is given twice", twice.name))),
    }
}

fn next<T: DeserializeOwned>(
    values: &mut std::vec::IntoIter<Value>,
    parameters: &mut std::slice::Iter<'_, Parameter>,
) -> Result<T, ArgumentError> {
    let name = parameters.next().map_or("?", |parameter| parameter.name);
    let value = values.next().ok_or(ArgumentError::Missing { name })?;
    value.into_typed().map_err(|error| ArgumentError::Invalid { name, reason: error.to_string() })
}

macro_rules! arguments {
    ($count:literal: $($argument:ident)*) => {
        impl<$($argument: TaskValue + Send + 'static),*> Arguments for ($($argument,)*) {
            fn serialize_list<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[expect(non_snake_case, reason = "each type parameter names its value")]
                let ($($argument,)*) = self;
                let mut list = serializer.serialize_seq(Some($count))?;
                $(list.serialize_element($argument)?;)*
                list.end()
            }

            fn bind(parameters: &[Parameter], args: Vec<Value>, kwargs: Map) -> Result<Self, ArgumentError> {
                let mut values = arrange(parameters, args, kwargs)?.into_iter();
                let mut parameters = parameters.iter();
                Ok(($(next::<$argument>(&mut values, &mut parameters)?,)*))
            }
        }
    };
}

impl Arguments for () {
    fn serialize_list<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_seq(Some(0))?.end()
    }

    fn bind(parameters: &[Parameter], args: Vec<Value>, kwargs: Map) -> Result<Self, ArgumentError> {
        arrange(parameters, args, kwargs).map(drop)
    }
}

arguments!(1: A);
arguments!(2: A B);
arguments!(3: A B C);
arguments!(4: A B C D);
arguments!(5: A B C D E);
arguments!(6: A B C D E F);
arguments!(7: A B C D E F G);
arguments!(8: A B C D E F G H);
arguments!(9: A B C D E F G H I);
arguments!(10: A B C D E F G H I J);
arguments!(11: A B C D E F G H I J K);
arguments!(12: A B C D E F G H I J K L);

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: &[Parameter] = &[Parameter::required("url"), Parameter::optional("width", || Value::Int(256))];

    fn bind(args: &[Value], kwargs: &[(&str, Value)]) -> Result<(String, u32), ArgumentError> {
        let kwargs = kwargs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Arguments::bind(PARAMETERS, args.to_vec(), kwargs)
    }

    #[test]
    fn arguments_come_by_position_or_by_name_or_by_default() {
        let url = Value::from("u");
        let expected = Ok(("u".to_owned(), 7));
        assert_eq!(bind(&[url.clone(), Value::Int(7)], &[]), expected);
        assert_eq!(bind(std::slice::from_ref(&url), &[("width", Value::Int(7))]), expected);
        assert_eq!(bind(&[], &[("width", Value::Int(7)), ("url", url.clone())]), expected);
        assert_eq!(bind(&[url], &[]), Ok(("u".to_owned(), 256)));
    }

    #[test]
    fn the_rest_of_the_arguments_is_a_list_and_a_map() {
        const REST: &[Parameter] = &[
            Parameter::required("url"),
            Parameter::rest("args", Rest::Positional),
            Parameter::rest("kwargs", Rest::Named),
        ];
        type All = (String, Vec<i64>, std::collections::BTreeMap<String, i64>);
        let url = Value::from("u");
        let kwargs: Map = [("x".to_owned(), Value::Int(3))].into_iter().collect();
        let args = vec![url.clone(), Value::Int(1), Value::Int(2)];
        let bound: All = Arguments::bind(REST, args.clone(), kwargs.clone()).unwrap();
        assert_eq!(bound, ("u".to_owned(), vec![1, 2], [("x".to_owned(), 3)].into()));
        let written = vec![url.clone(), Value::List(args[1..].to_vec()), Value::Map(kwargs.clone())];
        assert_eq!(spread(REST, written).unwrap(), (args, kwargs));

        let none: All = Arguments::bind(REST, vec![url.clone()], Map::new()).unwrap();
        assert_eq!(none, ("u".to_owned(), Vec::new(), [].into()));
        let by_name: Map = [("url".to_owned(), url.clone())].into_iter().collect();
        let named: All = Arguments::bind(REST, Vec::new(), by_name.clone()).unwrap();
        assert_eq!(named, none);
        let twice = spread(REST, vec![url.clone(), Value::List(Vec::new()), Value::Map(by_name)]).unwrap_err();
        assert_eq!(twice.to_string(), "argument `url` is given twice");
        let wrong = Arguments::bind(REST, vec![url, Value::from("one")], Map::new());
        let wrong: ArgumentError = wrong.map(|all: All| all).unwrap_err();
        assert!(wrong.to_string().starts_with("argument `args`: invalid type: string"), "{wrong}");
    }

    #[test]
    fn arguments_that_do_not_fit_are_named() {
        let url = Value::from("u");
        let cases = [
            (bind(&[], &[]), "missing argument `url`"),
            (bind(&[url.clone(), Value::Int(1), Value::Int(2)], &[]), "takes 2 arguments, got 3"),
            (bind(std::slice::from_ref(&url), &[("url", url.clone())]), "argument `url` is given twice"),
            (
                bind(std::slice::from_ref(&url), &[("wdith", Value::Int(1))]),
                "unexpected argument `wdith`, known are: url, width",
            ),
            (bind(&[url, Value::from("wide")], &[]), "argument `width`: invalid type: string \"wide\", expected u32"),
        ];
        for (result, message) in cases {
            assert_eq!(result.unwrap_err().to_string(), message);
        }
    }
}
