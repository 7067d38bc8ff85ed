//! The arguments of a task, as flags.

use celeriac_protocol::{Map, Value};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::error::Error;

/// Reads the arguments of a call from its flags.
pub(crate) fn arguments(args: &str, kwargs: &str) -> Result<(Vec<Value>, Map), Error> {
    let positional = read("--args", "a JSON list", args, ("--kwargs", Json::is_object))?;
    Ok((positional, read("--kwargs", "a JSON object", kwargs, ("--args", Json::is_array))?))
}

/// Reads the value of a flag. `other` is the flag for values that are meant for it, and a test for
/// them.
fn read<T: DeserializeOwned>(
    flag: &str,
    expected: &str,
    text: &str,
    other: (&str, fn(&Json) -> bool),
) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| {
        let reason = match serde_json::from_str(text) {
            Ok(value) if other.1(&value) => format!("expected {expected}; give it as {} {}", other.0, quoted(&value)),
            Ok(value) => format!("expected {expected}, such as {}", example(flag, &value)),
            Err(_) => match repaired(flag, text) {
                Some(value) => format!("expected {expected}: {error}; did you mean {}?", quoted(&value)),
                None => format!("expected {expected}: {error}"),
            },
        };
        Error::Data { what: flag.to_owned(), reason }
    })
}

/// Returns an example of a flag, with a value that is neither list nor object.
fn example(flag: &str, value: &Json) -> String {
    match flag {
        "--args" => quoted(&Json::from(vec![value.clone()])),
        _ => quoted(&serde_json::json!({ "name": value })),
    }
}

/// Returns the value that is meant by a text that is almost JSON: without its brackets, or with the
/// quotes of Python.
fn repaired(flag: &str, text: &str) -> Option<Json> {
    let whole = if flag == "--args" { format!("[{text}]") } else { format!("{{{text}}}") };
    [whole, text.replace('\'', "\"")].iter().find_map(|text| serde_json::from_str(text).ok())
}

/// Returns a value as an argument for a shell.
fn quoted(value: &Json) -> String {
    format!("'{}'", value.to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_and_a_list_are_told_their_own_flags() {
        let said = |args: &str, kwargs: &str| arguments(args, kwargs).unwrap_err().to_string();
        for (args, kwargs, expected) in [
            (r#"{"day": "it's"}"#, "{}", r#"--args: expected a JSON list; give it as --kwargs '{"day":"it'\''s"}'"#),
            ("[]", "[17, 1]", "--kwargs: expected a JSON object; give it as --args '[17,1]'"),
            ("17", "{}", "--args: expected a JSON list, such as '[17]'"),
            ("[]", "true", r#"--kwargs: expected a JSON object, such as '{"name":true}'"#),
        ] {
            assert_eq!(said(args, kwargs), expected);
        }
        assert!(said("[oops", "{}").starts_with("--args: expected a JSON list: expected value"));
        assert!(said("17, 1299", "{}").ends_with("; did you mean '[17,1299]'?"));
        assert!(said("['ada']", "{}").ends_with(r#"; did you mean '["ada"]'?"#));
        assert!(said("[]", r#""day": 1"#).ends_with(r#"; did you mean '{"day":1}'?"#));
    }
}
