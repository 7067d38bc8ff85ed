//! The merged configuration, from which what is wrong can be cut out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use config::{Value, ValueKind};
use serde_path_to_error::{Path, Segment};

use crate::origin::Origin;

/// A value with its origin.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) origin: Option<Origin>,
    /// Found wrong, and told: to be read as if it were not there.
    cut: bool,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Nothing,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    /// Text of a variable or flag, which may mean any of the others.
    Bare(String),
    List(Vec<Node>),
    Section(Vec<(String, Node)>),
}

/// A step from a section or list into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// A place in the tree.
#[derive(Debug)]
pub(crate) struct Place {
    /// The steps to the deepest value that the tree has on the way there.
    pub(crate) steps: Vec<Step>,
    /// The full key.
    pub(crate) key: String,
    /// The rest of the way, which lies inside a value that is text for this tree.
    pub(crate) inside: Option<String>,
}

/// A key below another.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

impl Node {
    pub(crate) fn new(value: Value) -> Self {
        let origin = value.origin().and_then(Origin::decode);
        let is_text = origin.as_ref().is_some_and(Origin::is_text);
        let kind = match value.kind {
            ValueKind::Nil => Kind::Nothing,
            ValueKind::Boolean(value) => Kind::Bool(value),
            ValueKind::I64(value) => Kind::Signed(value),
            ValueKind::U64(value) => Kind::Unsigned(value),
            // Neither YAML nor variables make these two.
            ValueKind::I128(value) => Kind::Text(value.to_string()),
            ValueKind::U128(value) => Kind::Text(value.to_string()),
            ValueKind::Float(value) => Kind::Float(value),
            ValueKind::String(text) if is_text => Kind::Bare(text),
            ValueKind::String(text) => Kind::Text(text),
            ValueKind::Array(values) => Kind::List(values.into_iter().map(Self::new).collect()),
            ValueKind::Table(values) => {
                Kind::Section(values.into_iter().map(|(key, value)| (key, Self::new(value))).collect())
            }
        };
        Self { kind, origin, cut: false }
    }

    /// A value of no known origin.
    pub(crate) fn of(kind: Kind) -> Self {
        Self { kind, origin: None, cut: false }
    }

    /// The child at a step, cut out or not.
    pub(crate) fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.kind, step) {
            (Kind::Section(values), Step::Key(key)) => {
                values.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            (Kind::List(values), Step::Index(index)) => values.get(*index),
            _ => None,
        }
    }

    /// The value at a place.
    pub(crate) fn at(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, |node, step| node.child(step))
    }

    /// Cuts out the value at a place. False for the root, which cannot be.
    pub(crate) fn cut(&mut self, steps: &[Step]) -> bool {
        let mut node = self;
        for step in steps {
            let child = match (&mut node.kind, step) {
                (Kind::Section(values), Step::Key(key)) => {
                    values.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
                }
                (Kind::List(values), Step::Index(index)) => values.get_mut(*index),
                _ => None,
            };
            match child {
                Some(child) => node = child,
                None => return false,
            }
        }
        node.cut = true;
        !steps.is_empty()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether this is a section that a key was cut out of.
    pub(crate) fn is_cut_into(&self) -> bool {
        matches!(&self.kind, Kind::Section(values) if values.iter().any(|(_, node)| node.cut))
    }

    /// Who said this value; of a section, everybody who said something in it.
    pub(crate) fn origins(&self) -> BTreeSet<&Origin> {
        let mut origins = BTreeSet::new();
        self.collect_origins(&mut origins);
        origins
    }

    fn collect_origins<'a>(&'a self, origins: &mut BTreeSet<&'a Origin>) {
        match &self.kind {
            Kind::Section(values) if !values.is_empty() => {
                values.iter().for_each(|(_, node)| node.collect_origins(origins));
            }
            _ => origins.extend(&self.origin),
        }
    }

    /// Where a path of the deserialiser leads. It does not count list elements that are cut out; places do.
    pub(crate) fn resolve(&self, path: &Path) -> Place {
        let mut place = Place { steps: Vec::new(), key: String::new(), inside: None };
        let mut here = Some(self);
        for segment in path {
            let step = match (segment, here.map(|node| &node.kind)) {
                (Segment::Seq { index }, Some(Kind::List(values))) => {
                    let kept = values.iter().enumerate().filter(|(_, node)| !node.cut).nth(*index);
                    Step::Index(kept.map_or(*index, |(index, _)| index))
                }
                (Segment::Seq { index }, _) => Step::Index(*index),
                (Segment::Map { key }, _) => Step::Key(key.clone()),
                // A variant is a step only where it is written as a key.
                (Segment::Enum { variant }, Some(Kind::Section(_))) => Step::Key(variant.clone()),
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

    /// Finds a written key. Names may hold dots themselves, so the longest that is there is taken.
    pub(crate) fn find(&self, key: &str) -> Option<Vec<Step>> {
        if key.is_empty() {
            return Some(Vec::new());
        }
        let candidates: Vec<(Step, &str)> = match &self.kind {
            Kind::Section(values) => {
                let mut names: Vec<(Step, &str)> = values
                    .iter()
                    .filter_map(|(name, _)| Some((Step::Key(name.clone()), rest_of(key.strip_prefix(name.as_str())?)?)))
                    .collect();
                names.sort_by_key(|(_, rest)| rest.len());
                names
            }
            Kind::List(_) => index_of(key).into_iter().collect(),
            _ => Vec::new(),
        };
        candidates.into_iter().find_map(|(step, rest)| {
            let mut steps = self.child(&step)?.find(rest)?;
            steps.insert(0, step);
            Some(steps)
        })
    }
}

impl Step {
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

/// What follows a name in a written key; none if the name does not end there.
fn rest_of(rest: &str) -> Option<&str> {
    match rest.chars().next() {
        None | Some('[') => Some(rest),
        Some('.') => Some(&rest[1..]),
        Some(_) => None,
    }
}

/// The index that a written key begins with, and what follows it.
fn index_of(key: &str) -> Option<(Step, &str)> {
    let (index, rest) = key.strip_prefix('[')?.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), rest_of(rest)?))
}
