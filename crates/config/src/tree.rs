//! The merged configuration. Wrong values can be removed from it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use config::{Value, ValueKind};
use serde_path_to_error::{Path, Segment};

use crate::origin::ValueOrigin;

/// A value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct ConfigNode {
    pub(crate) kind: NodeKind,
    pub(crate) origin: Option<ValueOrigin>,
    /// True once the value was reported as wrong. Readers skip it.
    removed: bool,
}

/// The kind of a value.
#[derive(Debug, Clone)]
pub(crate) enum NodeKind {
    Nothing,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    /// Text of a variable or flag. It may stand for any other kind.
    Bare(String),
    List(Vec<ConfigNode>),
    Section(Vec<(String, ConfigNode)>),
}

/// A step from a section or list into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    Key(String),
    Index(usize),
}

/// A place in the tree.
#[derive(Debug)]
pub(crate) struct KeyPath {
    /// The steps to the deepest value that exists in the tree.
    pub(crate) steps: Vec<PathStep>,
    /// The full key.
    pub(crate) key: String,
    /// The rest of the path, inside a value that is text in this tree.
    pub(crate) inside: Option<String>,
}

/// Joins a key and a key below it.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

impl ConfigNode {
    /// Converts a value of the `config` crate. `origin_of` finds its origin by the name.
    pub(crate) fn new(value: Value, origin_of: &impl Fn(Option<&str>) -> Option<ValueOrigin>) -> Self {
        let origin = origin_of(value.origin());
        let is_text = origin.as_ref().is_some_and(ValueOrigin::is_text);
        let kind = match value.kind {
            ValueKind::Nil => NodeKind::Nothing,
            ValueKind::Boolean(value) => NodeKind::Bool(value),
            ValueKind::I64(value) => NodeKind::Signed(value),
            ValueKind::U64(value) => NodeKind::Unsigned(value),
            // Neither YAML nor variables produce these two.
            ValueKind::I128(value) => NodeKind::Text(value.to_string()),
            ValueKind::U128(value) => NodeKind::Text(value.to_string()),
            ValueKind::Float(value) => NodeKind::Float(value),
            ValueKind::String(text) if is_text => NodeKind::Bare(text),
            ValueKind::String(text) => NodeKind::Text(text),
            ValueKind::Array(values) => {
                NodeKind::List(values.into_iter().map(|value| Self::new(value, origin_of)).collect())
            }
            ValueKind::Table(values) => {
                NodeKind::Section(values.into_iter().map(|(key, value)| (key, Self::new(value, origin_of))).collect())
            }
        };
        Self { kind, origin, removed: false }
    }

    /// Makes a value without an origin.
    pub(crate) fn of(kind: NodeKind) -> Self {
        Self { kind, origin: None, removed: false }
    }

    /// Returns the child at a step, removed or not.
    pub(crate) fn child(&self, step: &PathStep) -> Option<&Self> {
        match (&self.kind, step) {
            (NodeKind::Section(values), PathStep::Key(key)) => {
                values.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            (NodeKind::List(values), PathStep::Index(index)) => values.get(*index),
            _ => None,
        }
    }

    /// Returns the value at a place.
    pub(crate) fn at(&self, steps: &[PathStep]) -> Option<&Self> {
        steps.iter().try_fold(self, |node, step| node.child(step))
    }

    /// Removes the value at a place. Returns false for the root, which stays.
    pub(crate) fn remove(&mut self, steps: &[PathStep]) -> bool {
        let mut node = self;
        for step in steps {
            let child = match (&mut node.kind, step) {
                (NodeKind::Section(values), PathStep::Key(key)) => {
                    values.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
                }
                (NodeKind::List(values), PathStep::Index(index)) => values.get_mut(*index),
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => return false,
            }
        }
        node.removed = true;
        !steps.is_empty()
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    /// Returns true for a section that lost a key.
    pub(crate) fn has_removed(&self) -> bool {
        matches!(&self.kind, NodeKind::Section(values) if values.iter().any(|(_, node)| node.removed))
    }

    /// Returns the source of this value. For a section, the sources of all values in it.
    pub(crate) fn origins(&self) -> BTreeSet<&ValueOrigin> {
        let mut origins = BTreeSet::new();
        self.collect_origins(&mut origins);
        origins
    }

    fn collect_origins<'a>(&'a self, origins: &mut BTreeSet<&'a ValueOrigin>) {
        match &self.kind {
            NodeKind::Section(values) if !values.is_empty() => {
                values.iter().for_each(|(_, node)| node.collect_origins(origins));
            }
            _ => origins.extend(&self.origin),
        }
    }

    /// Resolves a path of the deserializer, which does not count removed elements of lists.
    pub(crate) fn resolve(&self, path: &Path) -> KeyPath {
        let mut place = KeyPath { steps: Vec::new(), key: String::new(), inside: None };
        let mut here = Some(self);
        for segment in path {
            let step = match (segment, here.map(|node| &node.kind)) {
                (Segment::Seq { index }, Some(NodeKind::List(values))) => {
                    let kept = values.iter().enumerate().filter(|(_, node)| !node.removed).nth(*index);
                    PathStep::Index(kept.map_or(*index, |(index, _)| index))
                }
                (Segment::Seq { index }, _) => PathStep::Index(*index),
                (Segment::Map { key }, _) => PathStep::Key(key.clone()),
                // A variant is a step only if it is written as a key.
                (Segment::Enum { variant }, Some(NodeKind::Section(_))) => PathStep::Key(variant.clone()),
                _ => continue,
            };
            step.append_to(&mut place.key);
            here = here.and_then(|node| node.child(&step));
            match here {
                Some(_) => place.steps.push(step),
                None => step.append_to(place.inside.get_or_insert_default()),
            }
        }
        place
    }

    /// Finds a written key. Names may contain dots, so the longest match wins.
    pub(crate) fn find(&self, key: &str) -> Option<Vec<PathStep>> {
        if key.is_empty() {
            return Some(Vec::new());
        }
        let candidates: Vec<(PathStep, &str)> = match &self.kind {
            NodeKind::Section(values) => {
                let mut names: Vec<(PathStep, &str)> = values
                    .iter()
                    .filter_map(|(name, _)| {
                        Some((PathStep::Key(name.clone()), rest_of(key.strip_prefix(name.as_str())?)?))
                    })
                    .collect();
                names.sort_by_key(|(_, rest)| rest.len());
                names
            }
            NodeKind::List(_) => index_of(key).into_iter().collect(),
            _ => Vec::new(),
        };
        candidates.into_iter().find_map(|(step, rest)| {
            let mut steps = self.child(&step)?.find(rest)?;
            steps.insert(0, step);
            Some(steps)
        })
    }
}

/// Returns the full key of a place.
pub(crate) fn written(steps: &[PathStep]) -> String {
    let mut key = String::new();
    steps.iter().for_each(|step| step.append_to(&mut key));
    key
}

impl PathStep {
    fn append_to(&self, key: &mut String) {
        match self {
            Self::Key(name) => *key = join(key, name),
            Self::Index(index) => {
                // Writing to a string cannot fail.
                let _ = write!(key, "[{index}]");
            }
        }
    }
}

/// Returns the rest after a name in a written key. `None` if the name does not end there.
fn rest_of(rest: &str) -> Option<&str> {
    match rest.chars().next() {
        None | Some('[') => Some(rest),
        Some('.') => Some(&rest[1..]),
        Some(_) => None,
    }
}

/// Returns the index at the beginning of a written key, and the rest.
fn index_of(key: &str) -> Option<(PathStep, &str)> {
    let (index, rest) = key.strip_prefix('[')?.split_once(']')?;
    Some((PathStep::Index(index.parse().ok()?), rest_of(rest)?))
}
