//! References to variables in files, such as `${NAME}`. Other systems replace them.

use crate::environment::{PREFIX, SEPARATOR};
use crate::origin::ValueOrigin;
use crate::problem::Problem;
use crate::tree::{ConfigNode, NodeKind, PathStep, written};

/// A reference and its place.
struct Reference {
    steps: Vec<PathStep>,
    origin: ValueOrigin,
    text: String,
}

/// Removes the values of files that refer to variables. Returns their problems, and true if one of
/// them is an element of a list.
pub(crate) fn remove_references(tree: &mut ConfigNode) -> (Vec<Problem>, bool) {
    let mut found = Vec::new();
    collect(tree, &mut Vec::new(), &mut found);
    let mut in_list = false;
    for reference in &found {
        tree.remove(&reference.steps);
        in_list |= matches!(reference.steps.last(), Some(PathStep::Index(_)));
    }
    (found.iter().map(Reference::problem).collect(), in_list)
}

fn collect(node: &ConfigNode, steps: &mut Vec<PathStep>, found: &mut Vec<Reference>) {
    let children: Vec<(PathStep, &ConfigNode)> = match (&node.kind, &node.origin) {
        (NodeKind::Text(text), Some(origin @ ValueOrigin::File(_))) => {
            found.extend(reference(text).map(|text| Reference { steps: steps.clone(), origin: origin.clone(), text }));
            return;
        }
        (NodeKind::Section(values), _) => {
            values.iter().map(|(name, child)| (PathStep::Key(name.clone()), child)).collect()
        }
        (NodeKind::List(values), _) => {
            values.iter().enumerate().map(|(index, child)| (PathStep::Index(index), child)).collect()
        }
        _ => return,
    };
    for (step, child) in children {
        steps.push(step);
        collect(child, steps, found);
        steps.pop();
    }
}

/// Returns the first reference in a text. A default in it may be secret and is left out.
fn reference(text: &str) -> Option<String> {
    text.match_indices("${").find_map(|(at, open)| {
        let (inside, _) = text[at + open.len()..].split_once('}')?;
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let name = inside.split(|letter| !is_of_name(letter)).next().filter(|name| !name.is_empty())?;
        let more = if name.len() < inside.len() { "…" } else { "" };
        Some(format!("${{{name}{more}}}"))
    })
}

impl Reference {
    fn problem(&self) -> Problem {
        let mut keys = Vec::new();
        for step in &self.steps {
            match step {
                PathStep::Key(name) if is_of_variable(name) => keys.push(name.as_str()),
                _ => break,
            }
        }
        let whole = if keys.len() < self.steps.len() {
            format!(", with the whole of {}", keys.join("."))
        } else {
            String::new()
        };
        let variable = format!("{PREFIX}{}", keys.join(SEPARATOR).to_ascii_uppercase());
        let message = format!("`{}` is not replaced in files; set the variable {variable}{whole}", self.text);
        Problem::of_key(&self.origin, &written(&self.steps), message)
    }
}

/// Returns true for a name that shells accept in a variable.
fn is_of_variable(name: &str) -> bool {
    name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
