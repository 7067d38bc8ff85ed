//! Parameters that take the rest of the arguments: `#[rest]`.

use syn::{Attribute, Ident, PatType};

use crate::mistakes::Mistakes;
use crate::syntax::last_segment;

/// The arguments that match no other parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestKind {
    /// Those by position.
    Positional,
    /// Those by name.
    Named,
}

/// Removes `#[rest]`, which the compiler does not know, and reads it with the type of its
/// parameter. `is_more` is true if the parameter has a default or a name of its own.
pub(crate) fn take(input: &mut PatType, is_more: bool, mistakes: &mut Mistakes) -> Option<RestKind> {
    let attribute = take_attribute(&mut input.attrs)?;
    if attribute.meta.require_path_only().is_err() {
        mistakes.add(&attribute, "`#[rest]` stands alone: the type of the argument says which rest it takes");
    }
    if is_more {
        mistakes.add(&*input, "a rest may be empty and has no name in a message: leave the other attribute out");
    }
    let ty = last_segment(&input.ty).map(|segment| segment.ident.to_string());
    match ty.as_deref() {
        Some("Vec") => Some(RestKind::Positional),
        Some("Map" | "BTreeMap" | "HashMap" | "IndexMap") => Some(RestKind::Named),
        _ => {
            let message = "a rest is a `Vec<Value>`, of arguments by position, or a `Map`, of arguments by name";
            mistakes.add(&input.ty, message);
            None
        }
    }
}

/// Removes `#[rest]`.
pub(crate) fn take_attribute(attributes: &mut Vec<Attribute>) -> Option<Attribute> {
    let position = attributes.iter().position(|attribute| attribute.path().is_ident("rest"))?;
    Some(attributes.remove(position))
}

/// Refuses arguments behind a rest, which nothing would be left for.
pub(crate) fn check_order(parameters: &[(&Ident, Option<RestKind>)], mistakes: &mut Mistakes) {
    for pair in parameters.windows(2) {
        let message = match (pair[0].1, pair[1].1) {
            (None, _) | (Some(RestKind::Positional), Some(RestKind::Named)) => continue,
            (Some(_), None) => "this argument is part of the rest before it: put it before `#[rest]`",
            (Some(_), Some(_)) => "a task has one rest by position, a `Vec`, and then one by name, a `Map`",
        };
        mistakes.add(pair[1].0, message);
    }
}
