//! The end of a member of a chord, for a body that gets errors too.

use celeriac_protocol::Failure;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The end of a member of a chord that is [`settled`](crate::Group::settled).
///
/// ```no_run
/// use celeriac::MemberEnd;
/// use celeriac::prelude::*;
///
/// #[task(name = "pages.report")]
/// async fn report(pages: Vec<MemberEnd<u32>>) -> TaskResult<String> {
///     let failed = pages.iter().filter(|page| page.outcome.is_err()).count();
///     Ok(format!("{failed} of {} pages failed", pages.len()))
/// }
/// ```
///
/// Python gets a dictionary: `{"id": …, "ok": True, "result": …}` or `{"id": …, "ok": False,
/// "error": {"type": …, "message": …}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberEnd<T> {
    /// The id of its task.
    pub id: String,
    /// Its result, or its error.
    pub outcome: Result<T, Failure>,
}

#[derive(Deserialize)]
struct Written<T> {
    id: String,
    result: Option<T>,
    error: Option<WrittenError>,
}

#[derive(Serialize, Deserialize)]
struct WrittenError {
    r#type: String,
    message: String,
}

impl<T: Serialize> Serialize for MemberEnd<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("ok", &self.outcome.is_ok())?;
        match &self.outcome {
            Ok(result) => map.serialize_entry("result", result)?,
            Err(Failure { kind, message, .. }) => {
                let error = WrittenError { r#type: kind.clone(), message: message.clone() };
                map.serialize_entry("error", &error)?;
            }
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for MemberEnd<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { id, result, error } = Written::deserialize(deserializer)?;
        let outcome = match (result, error) {
            (_, Some(WrittenError { r#type, message })) => Err(Failure::new(r#type, message)),
            (Some(result), None) => Ok(result),
            // A result that is null, such as `()`.
            (None, None) => Ok(T::deserialize(serde::de::value::UnitDeserializer::new())?),
        };
        Ok(Self { id, outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_and_an_error_are_read() {
        let text = r#"[{"id":"1","ok":true,"result":7},{"id":"2","ok":false,"error":{"type":"E","message":"no"}}]"#;
        let ends: Vec<MemberEnd<u32>> = serde_json::from_str(text).unwrap();
        assert_eq!(ends[0], MemberEnd { id: "1".to_owned(), outcome: Ok(7) });
        assert_eq!(ends[1], MemberEnd { id: "2".to_owned(), outcome: Err(Failure::new("E", "no")) });
        let unit: MemberEnd<()> = serde_json::from_str(r#"{"id":"1","ok":true,"result":null}"#).unwrap();
        assert_eq!(unit.outcome, Ok(()));
        assert_eq!(serde_json::to_string(&ends).unwrap(), text, "as it was written");
    }
}
