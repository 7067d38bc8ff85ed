//! The tasks and groups that a task has sent, as its result names them.

use std::collections::HashSet;

use celeriac_protocol::{Signature, Value};

/// A task or a group that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Child {
    Task(String),
    Group { id: String, members: Vec<MemberIds> },
}

/// The ids of a member's steps. Most members have one.
type MemberIds = Vec<String>;

/// The children of a task, in the order in which they are sent.
#[derive(Debug, Clone, Default)]
#[doc(hidden)]
pub struct Children(Vec<Child>);

impl Children {
    /// Adds a task.
    pub fn add_task(&mut self, id: String) {
        self.0.push(Child::Task(id));
    }

    /// Adds a member to the group that was added last, or to a new one.
    pub fn add_member(&mut self, group: &str, member: MemberIds) {
        match self.0.last_mut() {
            Some(Child::Group { id, members }) if id == group => members.push(member),
            _ => self.0.push(Child::Group { id: group.to_owned(), members: vec![member] }),
        }
    }

    /// Puts tasks that were added one by one into their group. The first step of each member was
    /// added.
    pub(crate) fn regroup(&mut self, group: String, members: Vec<Vec<String>>) {
        let first: HashSet<_> = members.iter().filter_map(|steps| steps.first()).collect();
        self.0.retain(|child| !matches!(child, Child::Task(id) if first.contains(id)));
        self.0.push(Child::Group { id: group, members });
    }

    /// Adds the children of another list.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns Celery's format: a tuple for each task, and one with the tuples of its members for
    /// each group. Clients make an `AsyncResult` of the one, and a `GroupResult` of the other.
    pub fn to_value(&self) -> Value {
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

/// Returns the ids of the steps of a member.
pub(crate) fn ids_of(steps: &[Signature]) -> MemberIds {
    steps.iter().filter_map(Signature::task_id).map(str::to_owned).collect()
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
        let mut children = Children::default();
        children.add_task("a".to_owned());
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

    #[test]
    fn tasks_that_were_sent_one_by_one_become_members_of_their_group() {
        let mut children = Children::default();
        ["a", "b", "c"].into_iter().for_each(|id| children.add_task(id.to_owned()));
        let members = [vec!["c", "d"], vec!["a"]].map(|ids| ids.into_iter().map(str::to_owned).collect());
        children.regroup("g".to_owned(), members.to_vec());
        let written = serde_json::to_string(&children.to_value()).unwrap();
        assert_eq!(written, r#"[[["b",null],null],[["g",null],[[["d",[["c",null],null]],null],[["a",null],null]]]]"#);
    }
}
