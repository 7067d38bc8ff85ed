//! The tasks and groups that a task has sent, as its result names them.

use celeriac_protocol::Value;

/// A task or a group that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Child {
    Task(String),
    Group { id: String, members: Vec<Member> },
}

/// The ids of a member's steps. Most members have one.
pub(crate) type Member = Vec<String>;

/// The children of a task, in the order in which they are sent.
#[derive(Debug, Default)]
pub(crate) struct Children(Vec<Child>);

impl Children {
    pub(crate) fn of_tasks(ids: Vec<String>) -> Self {
        Self(ids.into_iter().map(Child::Task).collect())
    }

    pub(crate) fn add_task(&mut self, id: String) {
        self.0.push(Child::Task(id));
    }

    /// Adds a member to the group that was added last, or to a new one.
    pub(crate) fn add_member(&mut self, group: &str, member: Member) {
        match self.0.last_mut() {
            Some(Child::Group { id, members }) if id == group => members.push(member),
            _ => self.0.push(Child::Group { id: group.to_owned(), members: vec![member] }),
        }
    }

    pub(crate) fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns Celery's format: a tuple for each task, and one with the tuples of its members for
    /// each group. Clients make an `AsyncResult` of the one, and a `GroupResult` of the other.
    pub(crate) fn to_value(&self) -> Value {
        let child = |child: &Child| match child {
            Child::Task(id) => Value::List(vec![node(id, Value::Null), Value::Null]),
            Child::Group { id, members } => {
                let members = members.iter().map(|steps| tuple(steps)).collect();
                Value::List(vec![node(id, Value::Null), Value::List(members)])
            }
        };
        Value::List(self.0.iter().map(child).collect())
    }
}

/// Returns the tuple of the last step. Each step before is the parent of the next one.
fn tuple(steps: &[String]) -> Value {
    steps.iter().fold(Value::Null, |parent, id| Value::List(vec![node(id, parent), Value::Null]))
}

fn node(id: &str, parent: Value) -> Value {
    Value::List(vec![id.into(), parent])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_and_groups_are_tuples_as_celery_writes_them() {
        let mut children = Children::of_tasks(vec!["a".to_owned()]);
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        children.add_member("g", ids(&["b"]));
        children.add_member("g", ids(&["c", "d"]));
        let mut others = Children::default();
        others.add_member("h", ids(&["e"]));
        others.add_task("f".to_owned());
        children.append(others);
        let written = serde_json::to_string(&children.to_value()).unwrap();
        assert_eq!(
            written,
            r#"[[["a",null],null],[["g",null],[[["b",null],null],[["d",[["c",null],null]],null]]],[["h",null],[[["e",null],null]]],[["f",null],null]]"#
        );
    }
}
