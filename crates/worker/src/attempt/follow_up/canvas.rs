//! The parts of chords that follow from a task.

use celeriac_protocol::signature::{ChordParts, ChordRules, SignatureError, SignatureKind};
use celeriac_protocol::{Codec, Signature, Value};
use celeriac_results::{NewJoin, is_id};

use crate::attempt::follow_up::error::FollowUpError;

/// The parts of a chord, or of a group with steps behind it.
pub(super) struct JoinedParts {
    /// The steps of each member. Most members have one.
    pub(super) members: Vec<Vec<Signature>>,
    /// The steps of the body.
    pub(super) body: Vec<Signature>,
    /// The join of the members.
    pub(super) join: NewJoin,
}

impl JoinedParts {
    /// Takes a chord apart. The steps behind it follow its body. `derive` makes the ids that the
    /// sender has not given, and `rules_of` adds the default rules.
    pub(super) fn of(
        signature: Signature,
        rest: Vec<Signature>,
        derive: impl Fn(&str) -> String,
        rules_of: impl FnOnce(ChordRules) -> ChordRules,
    ) -> Result<Self, FollowUpError> {
        let task = signature.task.clone();
        let invalid = |reason: String| FollowUpError::Invalid { task: task.clone(), reason };
        let unread = |error: SignatureError| invalid(error.to_string());
        let given = signature.task_id().map(str::to_owned);
        let group = given.unwrap_or_else(|| derive("group"));
        if !is_id(&group) {
            return Err(invalid("no store can hold its `task_id`".to_owned()));
        }
        let rules = ChordRules::read(&signature.options).map_err(|error| invalid(error.to_string()))?;
        let (members, mut body) = match signature.kind() {
            SignatureKind::Group => (signature.into_members().map_err(unread)?, Vec::new()),
            _ => {
                let ChordParts { header, body } = signature.into_chord_parts().map_err(unread)?;
                (header, body.into_steps().map_err(unread)?)
            }
        };
        body.extend(rest);
        for (index, step) in body.iter_mut().enumerate() {
            give_id(step, || derive(&format!("body/{index}")));
        }
        let flat = Signature::flat(members).map_err(unread)?;
        let flat = flat.into_iter().map(Signature::into_steps).collect::<Result<Vec<_>, _>>().map_err(unread)?;
        let signature = body_of(&body, &group).ok_or_else(|| invalid("it has no body".to_owned()))?;
        let signature = signature.body_of_join(&group, flat.len());
        let text = Codec::Json.encode_value(&signature.clone().into()).map_err(|error| invalid(error.to_string()))?;
        let text = String::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
        let join = NewJoin { rules: rules_of(rules), ..NewJoin::new(group, flat.len() as u64, text) };
        let (chord, mut members) = (Value::from(signature), Vec::with_capacity(flat.len()));
        for (index, mut steps) in flat.into_iter().enumerate() {
            for (number, step) in steps.iter_mut().enumerate() {
                give_id(step, || derive(&format!("{index}/{number}")));
            }
            let Some(last) = steps.last_mut() else { return Err(invalid("a member has no steps".to_owned())) };
            let is_member = last.change_end(&mut |task: &mut Signature| {
                task.options.insert("group_id".to_owned(), join.id.as_str().into());
                task.options.insert("group_index".to_owned(), i64::try_from(index).unwrap_or(i64::MAX).into());
                task.options.insert("chord".to_owned(), chord.clone());
            });
            if !is_member {
                return Err(invalid("a member ends with a group".to_owned()));
            }
            members.push(steps);
        }
        Ok(Self { members, body, join })
    }
}

/// Gives a task an id. Groups and chords get theirs when they are sent.
fn give_id(step: &mut Signature, id: impl FnOnce() -> String) {
    if step.kind() == SignatureKind::Task {
        step.options.entry("task_id".to_owned()).or_insert_with(|| id().into());
    }
}

/// Makes the signature of the body of its steps.
fn body_of(steps: &[Signature], group: &str) -> Option<Signature> {
    let last = steps.last()?;
    let mut body = match steps {
        [one] if one.kind() == SignatureKind::Task => one.clone(),
        _ => {
            let mut chain = Signature::chain(steps.to_vec());
            chain.options.extend(last.options.get("task_id").map(|id| ("task_id".to_owned(), id.clone())));
            chain
        }
    };
    // A body that is itself a member belongs to the group of its own chord.
    body.options.entry("group_id".to_owned()).or_insert_with(|| group.into());
    Some(body)
}

/// Returns the tasks that end with a step that will never run: those of the body of a chord, or the
/// step itself.
pub(super) fn ends(step: &Signature) -> Vec<Signature> {
    let body = match step.kind() {
        SignatureKind::Chord => step.kwargs.get("body").and_then(|body| Signature::read(body).ok()),
        _ => None,
    };
    match body.map(Signature::into_steps) {
        Some(Ok(steps)) => steps.iter().flat_map(ends).collect(),
        _ => vec![step.clone()],
    }
}
