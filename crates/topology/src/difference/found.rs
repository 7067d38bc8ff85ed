//! A difference, as data.

use std::collections::BTreeSet;

use serde::Serialize;

use super::remedy::{Leftover, Remedy};
use crate::objects::{Argument, Arguments, TopologyObject};

/// A difference between broker and files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The kind of the difference.
    pub kind: DifferenceKind,
    /// The object that differs, such as ``queue `mail` ``.
    pub object: String,
    /// The property that differs. `None`: its existence.
    pub property: Option<String>,
    /// Its value on the broker. `None` if it is not there.
    pub broker: Option<String>,
    /// Its value in the files. `None` if they do not set it.
    pub files: Option<String>,
    /// The remedy. It is not serialized, because its command line has the name of the program.
    #[serde(skip)]
    pub remedy: Remedy,
}

/// The kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// Only the files have it.
    Missing,
    /// Both have it, with different values.
    Differs,
    /// Only the broker has it, and an earlier file named it.
    Extra,
}

pub(super) fn names<'a>(one: &'a Arguments, other: &'a Arguments) -> BTreeSet<&'a str> {
    one.keys().chain(other.keys()).map(String::as_str).collect()
}

pub(super) fn shown(argument: Option<&Argument>) -> Option<String> {
    argument.map(Argument::to_string)
}

impl Difference {
    /// Makes the difference of an object that does not exist.
    pub fn missing(declared: &TopologyObject) -> Self {
        let remedy = if declared.is_foreign() {
            Remedy::ByHand("it is `external` in the files: its owner has to make it")
        } else {
            Remedy::Make(declared.clone())
        };
        let (object, files) = (declared.to_string(), Some("declared".to_owned()));
        Self { kind: DifferenceKind::Missing, object, property: None, broker: None, files, remedy }
    }

    /// Makes the difference of a property.
    pub fn differs(
        object: &str,
        property: &str,
        broker: Option<String>,
        files: Option<String>,
        remedy: Remedy,
    ) -> Self {
        let (object, property) = (object.to_owned(), Some(property.to_owned()));
        Self { kind: DifferenceKind::Differs, object, property, broker, files, remedy }
    }

    pub(super) fn extra(object: String, leftover: Leftover) -> Self {
        let (broker, remedy) = (Some("there".to_owned()), Remedy::Delete(leftover));
        Self { kind: DifferenceKind::Extra, object, property: None, broker, files: None, remedy }
    }
}
