//! The end of a task in the form in which waiting clients are notified of it.

use celeriac_protocol::{Failure, TaskState};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::exact::{self, Document};
use crate::record::TaskRecord;

/// Most bytes of an outcome in a notification, as JSON with state and error. Every process that
/// waits for any task receives every notification.
pub(crate) const LARGEST_OUTCOME: usize = 1_024;

/// The end of a task: its id, and its outcome if that is small.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(hidden)]
pub struct TaskEnd {
    /// Its id.
    pub(crate) id: String,
    /// Its outcome as JSON.
    pub(crate) outcome: Option<String>,
}

/// State, result and error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndOutcome<'a> {
    state: TaskState,
    /// Absent if there is none. JSON's `null` is a result.
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Reads a value that is present, `null` too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl TaskEnd {
    /// Returns the end that this record describes.
    pub fn of(record: &TaskRecord) -> Self {
        Self { id: record.id.clone(), outcome: outcome(record) }
    }
}

impl EndOutcome<'_> {
    /// Returns the record of this outcome. Its other fields are empty.
    pub(crate) fn into_record(self, id: &str) -> TaskRecord {
        TaskRecord {
            result: self.result.map(|result| result.get().to_owned()),
            failure: self.failure,
            ..TaskRecord::new(id, "", self.state)
        }
    }
}

/// Returns the outcome as its row would have it, unless it is large or the row has another form of
/// it.
fn outcome(record: &TaskRecord) -> Option<String> {
    // A notification has one line for each id.
    let is_small = record.result.as_ref().is_none_or(|result| result.len() <= LARGEST_OUTCOME);
    // Arguments are values, which have no exact form in plain JSON.
    let has_args = record.failure.as_ref().is_some_and(|failure| failure.args.is_some());
    if !record.state.is_final() || !is_small || has_args || record.id.contains('\n') {
        return None;
    }
    let result = match record.result.as_deref() {
        Some(result) if Document::new(Some(result)).json.is_some() && has_exponent(result) => return None,
        Some(result) => Some(serde_json::from_str(result).ok()?),
        None => None,
    };
    let text = |text: &str| exact::text(text).into_owned();
    let failure = record.failure.as_ref().map(|failure| Failure {
        kind: text(&failure.kind),
        module: failure.module.as_deref().map(text),
        message: text(&failure.message),
        args: None,
        trace: failure.trace.as_deref().map(text),
    });
    let outcome = EndOutcome { state: record.state, result, failure };
    serde_json::to_string(&outcome).ok().filter(|outcome| outcome.len() <= LARGEST_OUTCOME)
}

/// Returns `true` if a number has an exponent. `jsonb` writes `1e3` as `1000`, which is another
/// type for a program that reads any JSON.
fn has_exponent(document: &str) -> bool {
    let (mut in_string, mut is_escaped, mut before) = (false, false, b' ');
    document.bytes().any(|byte| {
        let found = !in_string && matches!(byte, b'e' | b'E') && before.is_ascii_digit();
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            _ => {}
        }
        before = byte;
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(result: Option<&str>) -> TaskRecord {
        TaskRecord { result: result.map(str::to_owned), ..TaskRecord::new("t", "", TaskState::Success) }
    }

    #[test]
    fn an_outcome_survives() {
        let failure = Failure {
            module: Some("shop".to_owned()),
            trace: Some("line".to_owned()),
            ..Failure::new("E", "no \"good\"\n")
        };
        for record in [
            success(Some("null")),
            success(None),
            success(Some(r#"{"a":[1.50,"1e5",true,"\\"],"e":1}"#)),
            TaskRecord { failure: Some(failure), ..TaskRecord::new("t", "", TaskState::Failure) },
            TaskRecord::new("t", "", TaskState::Ignored),
        ] {
            let outcome = TaskEnd::of(&record).outcome.unwrap();
            assert_eq!(serde_json::from_str::<EndOutcome<'_>>(&outcome).unwrap().into_record("t"), record);
        }
    }

    #[test]
    fn what_is_large_or_has_another_form_in_its_row_is_left_to_the_row() {
        let long = format!("\"{}\"", "x".repeat(LARGEST_OUTCOME));
        let half = format!("\"{}\"", "x".repeat(LARGEST_OUTCOME / 2));
        for result in [long.as_str(), "1e3", "[0, 1.5E+7]", r#"["\"", 2e1]"#, "NaN", ""] {
            assert_eq!(TaskEnd::of(&success(Some(result))).outcome, None, "{result}");
        }
        assert!(TaskEnd::of(&success(Some(&half))).outcome.is_some());
        assert_eq!(TaskEnd::of(&TaskRecord::new("t", "", TaskState::Retry)).outcome, None);
        let two_lines = TaskRecord { id: "t\nu".to_owned(), ..success(Some("1")) };
        assert_eq!(TaskEnd::of(&two_lines).outcome, None);
        let nul =
            TaskRecord { failure: Some(Failure::new("E", "a\0b")), ..TaskRecord::new("t", "", TaskState::Failure) };
        assert!(TaskEnd::of(&nul).outcome.unwrap().contains("a\u{fffd}b"));
        let args = Failure::new("E", "").with_args(vec![7.into()]);
        let args = TaskRecord { failure: Some(args), ..TaskRecord::new("t", "", TaskState::Failure) };
        assert_eq!(TaskEnd::of(&args).outcome, None);
    }
}
