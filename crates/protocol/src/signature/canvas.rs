//! Chains, groups and chords: made of their parts, and taken apart.

use super::{Signature, SignatureError, SignatureKind};
use crate::value::{Map, Value};

/// The options of a signature that have signatures themselves.
const LINK: &str = "link";
const LINK_ERROR: &str = "link_error";

/// A chord, taken apart.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct ChordParts {
    /// The members of the header. They may be groups and chains.
    pub header: Vec<Signature>,
    /// The body, with the links of the chord.
    pub body: Signature,
}

impl Signature {
    /// Makes a chain, as Celery writes it.
    #[doc(hidden)]
    #[must_use]
    pub fn chain(steps: Vec<Self>) -> Self {
        Self::composed("chain", [("tasks", list(steps))])
    }

    /// Makes a group, as Celery writes it.
    #[doc(hidden)]
    #[must_use]
    pub fn group(members: Vec<Self>) -> Self {
        Self::composed("group", [("tasks", list(members))])
    }

    /// Makes a chord, as Celery writes it.
    #[doc(hidden)]
    #[must_use]
    pub fn chord(header: Self, body: Self) -> Self {
        let parts = [("kwargs", Value::Map(Map::new())), ("header", header.into()), ("body", body.into())];
        Self::composed("chord", parts)
    }

    fn composed(kind: &str, parts: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self {
            kwargs: parts.into_iter().map(|(name, part)| (name.to_owned(), part)).collect(),
            subtask_type: Some(kind.to_owned()),
            ..Self::new(format!("celery.{kind}"))
        }
    }

    /// Makes one signature of steps: the only one, or a chain.
    #[doc(hidden)]
    #[must_use]
    pub fn of_steps(mut steps: Vec<Self>) -> Self {
        match steps.len() {
            1 => steps.remove(0),
            _ => Self::chain(steps),
        }
    }

    /// Returns the steps of a chain and of the chains in it. Any other signature is the only step.
    ///
    /// The last step of a chain gets its callbacks, and each step its errbacks.
    ///
    /// # Errors
    /// Returns an error if a step or a link is not a valid signature.
    #[doc(hidden)]
    pub fn into_steps(self) -> Result<Vec<Self>, SignatureError> {
        let mut steps = Vec::with_capacity(1);
        self.add_steps(&mut steps)?;
        Ok(steps)
    }

    fn add_steps(mut self, steps: &mut Vec<Self>) -> Result<(), SignatureError> {
        if self.kind() != SignatureKind::Chain {
            steps.push(self);
            return Ok(());
        }
        let (callbacks, errbacks) = (self.options.swap_remove(LINK), self.options.swap_remove(LINK_ERROR));
        let first = steps.len();
        for member in self.into_members()? {
            member.add_steps(steps)?;
        }
        let added = steps.get_mut(first..).unwrap_or_default();
        if let (Some(last), Some(callbacks)) = (added.last_mut(), &callbacks) {
            last.link_all(LINK, callbacks)?;
        }
        if let Some(errbacks) = &errbacks {
            for step in added {
                step.link_all(LINK_ERROR, errbacks)?;
            }
        }
        Ok(())
    }

    /// Returns the members of a group, with those of the groups in it in place of these groups.
    ///
    /// # Errors
    /// Returns an error if a member is not a valid signature.
    #[doc(hidden)]
    pub fn into_flat_members(self) -> Result<Vec<Self>, SignatureError> {
        Self::flat(self.into_members()?)
    }

    /// Returns these members of a group, with the members of groups in place of the groups.
    ///
    /// # Errors
    /// Returns an error if a member of a group is not a valid signature.
    #[doc(hidden)]
    pub fn flat(members: Vec<Self>) -> Result<Vec<Self>, SignatureError> {
        let mut flat = Vec::with_capacity(members.len());
        for member in members {
            match member.kind() {
                SignatureKind::Group => flat.append(&mut member.into_flat_members()?),
                _ => flat.push(member),
            }
        }
        Ok(flat)
    }

    /// Takes a chord apart. Its header is a group, or a list.
    ///
    /// # Errors
    /// Returns an error if a part is not a valid signature.
    #[doc(hidden)]
    pub fn into_chord_parts(mut self) -> Result<ChordParts, SignatureError> {
        let header = match self.kwargs.swap_remove("header").unwrap_or_default() {
            group @ Value::Map(_) => Self::from_value(group).and_then(Self::into_members),
            members => Self::list_from_value("tasks", members),
        };
        let header = header.map_err(|error| error.within("header"))?;
        let body = self.kwargs.swap_remove("body").unwrap_or_default();
        let mut body = Self::from_value(body).map_err(|error| error.within("body"))?;
        for option in [LINK, LINK_ERROR] {
            if let Some(links) = self.options.get(option) {
                body.link_all(option, links)?;
            }
        }
        Ok(ChordParts { header, body })
    }

    /// Returns the option `task_id`.
    #[doc(hidden)]
    #[must_use]
    pub fn task_id(&self) -> Option<&str> {
        self.options.get("task_id").and_then(Value::as_str)
    }

    /// Returns the tasks to call after a failure.
    ///
    /// # Errors
    /// Returns an error if one is not a valid signature.
    #[doc(hidden)]
    pub fn errbacks(&self) -> Result<Vec<Self>, SignatureError> {
        self.options.get(LINK_ERROR).map_or_else(|| Ok(Vec::new()), |errbacks| Self::read_list(LINK_ERROR, errbacks))
    }

    /// Adds all signatures of a list, or a single one, to an option such as `link`.
    ///
    /// # Errors
    /// Returns an error if one of them is not a valid signature.
    #[doc(hidden)]
    pub fn link_all(&mut self, option: &str, signatures: &Value) -> Result<(), SignatureError> {
        for signature in Self::read_list(option, signatures)? {
            *self = std::mem::take(self).linked(option, signature);
        }
        Ok(())
    }
}

fn list(signatures: Vec<Signature>) -> Value {
    Value::List(signatures.into_iter().map(Value::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(text: &str) -> Signature {
        Signature::from_value(serde_json::from_str(text).unwrap()).unwrap()
    }

    fn names(signatures: &[Signature]) -> Vec<&str> {
        signatures.iter().map(|signature| signature.task.as_str()).collect()
    }

    #[test]
    fn what_is_made_of_parts_has_these_parts() {
        let steps = vec![Signature::new("a"), Signature::new("b")];
        let chain = Signature::chain(steps.clone());
        assert_eq!((chain.kind(), chain.task.as_str()), (SignatureKind::Chain, "celery.chain"));
        assert_eq!(chain.into_steps().unwrap(), steps);
        assert_eq!(Signature::group(steps.clone()).into_members().unwrap(), steps);
        let chord = Signature::chord(Signature::group(steps.clone()), Signature::new("c"));
        let parts = ChordParts { header: steps, body: Signature::new("c") };
        assert_eq!(chord.into_chord_parts().unwrap(), parts);
        assert_eq!(Signature::of_steps(vec![Signature::new("a")]), Signature::new("a"));
    }

    #[test]
    fn the_links_of_a_chain_go_to_its_steps() {
        let inner = Signature::chain(vec![Signature::new("b"), Signature::new("c")]).on_error(Signature::new("inner"));
        let chain = Signature::chain(vec![Signature::new("a"), inner]);
        let chain = chain.link(Signature::new("told")).on_error(Signature::new("outer"));
        let steps = chain.into_steps().unwrap();
        assert_eq!(names(&steps), ["a", "b", "c"]);
        let links = |option| steps.iter().map(|step| step.options.get(option).cloned()).collect::<Vec<_>>();
        let linked = |tasks: &[&str]| Some(list(tasks.iter().copied().map(Signature::new).collect()));
        assert_eq!(links(LINK), [None, None, linked(&["told"])]);
        assert_eq!(links(LINK_ERROR), [linked(&["outer"]), linked(&["inner", "outer"]), linked(&["inner", "outer"])]);
    }

    #[test]
    fn the_header_of_a_chord_is_a_list_too_and_its_body_gets_the_links() {
        let chord = r#"{"task":"celery.chord","kwargs":{"header":[{"task":"a"}],"body":{"task":"b"}},
            "options":{"link":{"task":"told"}}}"#;
        let ChordParts { header, body } = signature(chord).into_chord_parts().unwrap();
        assert_eq!((names(&header), body), (vec!["a"], Signature::new("b").link(Signature::new("told"))));
        let without = signature(r#"{"task":"celery.chord","kwargs":{"header":[7]}}"#);
        let error = without.into_chord_parts().unwrap_err().to_string();
        assert_eq!(error, "`header.tasks[0].signature` should be an object, got an integer");
    }

    #[test]
    fn groups_in_groups_are_their_members() {
        let inner = Signature::group(vec![Signature::new("b"), Signature::group(vec![Signature::new("c")])]);
        let group = Signature::group(vec![Signature::new("a"), inner, Signature::new("d")]);
        assert_eq!(names(&group.into_flat_members().unwrap()), ["a", "b", "c", "d"]);
    }
}
