//! Merges layers into one tree, and reads the options from it.
//!
//! Serde stops at the first error. So each error is recorded with its path and source, the value is
//! removed from the tree, and the tree is read again until no error is left.

use serde::de::DeserializeOwned;

use crate::deserialize_error::DeserializeError;
use crate::environment::{PREFIX, SEPARATOR};
use crate::node_deserializer::NodeDeserializer;
use crate::origin::ValueOrigin;
use crate::problem::{Problem, Problems};
use crate::references::remove_references;
use crate::sources::Sources;
use crate::suggest::nearest;
use crate::tree::{ConfigNode, KeyPath, NodeKind, PathStep, join};

/// The most problems that are reported.
const MAX_PROBLEMS: usize = 1_000;

/// Options, with the source of each value.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The options.
    pub options: T,
    pub(crate) tree: ConfigNode,
}

impl<T> Loaded<T> {
    /// Returns the source of a key such as `broker.url`: a file,
    /// `environment: CELERIAC__BROKER__URL`, or `command line: --broker`. `None` if no source sets
    /// it, not even the defaults.
    pub fn origin_of(&self, key: &str) -> Option<String> {
        let steps = self.tree.find(key)?;
        let origins = self.tree.at(&steps)?.origins();
        origins.into_iter().next_back().map(ToString::to_string)
    }

    /// Adds the source to problems that a component found, each a full key and a message.
    pub fn problems(&self, found: impl IntoIterator<Item = (String, String)>) -> Problems {
        let found = found.into_iter().map(|(key, message)| problem_with(&self.tree, &key, message));
        Problems::from(found.collect::<Vec<_>>())
    }
}

/// Fills options from sources.
///
/// `T` consists of structs with `#[serde(deny_unknown_fields, default)]`. It must not use
/// `flatten`, `untagged` or internally tagged enums, in which serde loses the path.
///
/// # Errors
/// Returns all problems of the configuration.
pub fn load<T: DeserializeOwned>(sources: &Sources) -> Result<Loaded<T>, Problems> {
    load_with(sources, |_| Vec::new())
}

/// Fills options from sources and validates them. `validate` returns problems, each a full key such
/// as `broker.url` and a message. They are reported together with those of reading.
///
/// # Errors
/// Returns all problems of the configuration.
pub fn load_with<T: DeserializeOwned>(
    sources: &Sources,
    validate: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<Loaded<T>, Problems> {
    let mut collected = sources.collect();
    let mut tree = collected.tree();
    let mut problems = collected.problems;
    let (references, in_list) = remove_references(&mut tree);
    problems.extend(references);
    let mut is_partial = collected.is_partial || in_list;
    let options = read::<T>(&mut tree, sources, &mut problems, &mut is_partial);
    if let (Some(options), false) = (&options, is_partial) {
        let found = validate(options).into_iter().filter(|(key, _)| !follows_from_removal(&tree, key));
        problems.extend(found.map(|(key, message)| problem_with(&tree, &key, message)));
    }
    match options {
        Some(options) if problems.is_empty() => Ok(Loaded { options, tree }),
        _ => Err(Problems::from(problems)),
    }
}

/// Reads the options, and records problems. Returns `None` if the root itself is wrong.
fn read<T: DeserializeOwned>(
    tree: &mut ConfigNode,
    sources: &Sources,
    problems: &mut Vec<Problem>,
    is_partial: &mut bool,
) -> Option<T> {
    for _ in 0..MAX_PROBLEMS {
        let error = match serde_path_to_error::deserialize::<_, T>(NodeDeserializer(tree)) {
            Ok(options) => return Some(options),
            Err(error) => error,
        };
        let place = tree.resolve(error.path());
        describe(tree, &place, &explained(sources, &place, error.into_inner()), problems);
        // Without this element, the others have different indexes, and `validate` would name wrong
        // ones.
        *is_partial |= matches!(place.steps.last(), Some(PathStep::Index(_)));
        if !tree.remove(&place.steps) {
            return None;
        }
    }
    None
}

/// Adds the explanation of a name of another system.
fn explained(sources: &Sources, place: &KeyPath, error: DeserializeError) -> DeserializeError {
    let DeserializeError::UnknownKey { name, known, .. } = error else { return error };
    let section = place.key.strip_suffix(&name).unwrap_or_default().trim_end_matches('.');
    let explanation = sources.explanation(section, &name);
    DeserializeError::UnknownKey { name, known, explanation }
}

fn describe(tree: &ConfigNode, place: &KeyPath, fault: &DeserializeError, problems: &mut Vec<Problem>) {
    let Some(node) = tree.at(&place.steps) else { return };
    let key = match fault {
        DeserializeError::MissingKey { name } => join(&place.key, name),
        _ => place.key.clone(),
    };
    if let DeserializeError::MissingKey { name } = fault
        && node.child(&PathStep::Key((*name).to_owned())).is_some_and(ConfigNode::is_removed)
    {
        // The key is missing because its value was wrong, which is reported already.
        return;
    }
    let origins = node.origins();
    if origins.is_empty() {
        problems.push(Problem { key: Some(key), ..Problem::of_source("configuration", fault.to_string()) });
        return;
    }
    problems.extend(origins.into_iter().map(|origin| in_terms_of(origin, &key, place, fault)));
}

/// Describes a problem in the terms of its source.
fn in_terms_of(origin: &ValueOrigin, key: &str, place: &KeyPath, fault: &DeserializeError) -> Problem {
    let mut problem = Problem::of_key(origin, key, fault.to_string());
    let is_named = match fault {
        DeserializeError::Wrong { nearest, .. } => {
            problem.nearest.clone_from(nearest);
            place.inside.is_some()
        }
        DeserializeError::MissingKey { .. } => origin.is_text(),
        DeserializeError::UnknownKey { name, known, explanation } => {
            if explanation.is_none() && fault.nested_form().is_none() {
                let meant = nearest(name, known.iter().copied());
                problem.nearest =
                    meant.map(|meant| correction(origin, key.strip_suffix(name).unwrap_or_default(), place, meant));
            }
            place.inside.is_some() || matches!(origin, ValueOrigin::Flag(_))
        }
    };
    // The name of a variable or flag may differ from the full key, so the message has the key.
    if is_named && origin.is_text() {
        problem.message = format!("{key}: {}", problem.message);
    }
    problem
}

/// Returns the suggested key, in the form of its source.
///
/// `section` is the start of the full key, up to the name of the unknown key.
fn correction(origin: &ValueOrigin, section: &str, place: &KeyPath, meant: &str) -> String {
    match origin {
        ValueOrigin::Variable(variable) if place.inside.is_none() => {
            let mut parts: Vec<&str> = variable.strip_prefix(PREFIX).unwrap_or(variable).split(SEPARATOR).collect();
            let upper = meant.to_uppercase();
            if let Some(part) = place.steps.len().checked_sub(1).and_then(|depth| parts.get_mut(depth)) {
                *part = &upper;
            }
            format!("{PREFIX}{}", parts.join(SEPARATOR))
        }
        _ => format!("{section}{meant}"),
    }
}

/// Adds the source to the problem of a key.
fn problem_with(tree: &ConfigNode, key: &str, message: String) -> Problem {
    let nobody = |message| Problem { key: Some(key.to_owned()), ..Problem::of_source("configuration", message) };
    let Some((said, is_exact)) = source_of(tree, key) else { return nobody(message) };
    // A variable sets only its own key. Another key of the section keeps its default.
    let is_neighbour = !is_exact && matches!(said.kind, NodeKind::Section(_));
    match said.origins().into_iter().rfind(|origin| !is_neighbour || !origin.is_text()) {
        Some(origin) if origin.is_text() && !is_exact => Problem::of_key(origin, key, format!("{key}: {message}")),
        Some(origin) => Problem::of_key(origin, key, message),
        None => nobody(message),
    }
}

/// Returns the value of a key and true, or the nearest section around it and false.
fn source_of<'a>(tree: &'a ConfigNode, key: &str) -> Option<(&'a ConfigNode, bool)> {
    let mut shorter = key;
    while !shorter.is_empty() {
        if let Some(node) = tree.find(shorter).and_then(|steps| tree.at(&steps)) {
            return Some((node, shorter.len() == key.len()));
        }
        shorter = &shorter[..shorter.rfind(['.', '['])?];
    }
    None
}

/// Returns true for a key that was removed or lies in a removed section, and for a section that
/// lost a key. A problem with it follows from the removal.
fn follows_from_removal(tree: &ConfigNode, key: &str) -> bool {
    let mut node = tree;
    let mut steps = tree.find(key).unwrap_or_default().into_iter();
    loop {
        if node.is_removed() {
            return true;
        }
        match steps.next().and_then(|step| node.child(&step)) {
            Some(child) => node = child,
            None => return !key.is_empty() && node.has_removed(),
        }
    }
}

#[cfg(test)]
mod tests;
