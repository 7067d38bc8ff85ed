//! The chords of `celery.chord_unlock` and `celery.chord`: what follows from these tasks.
//!
//! The body of a chord is the next step of its `celery.chord_unlock`. So it is checked before, sent
//! once, and ended by the failure, as any other step of a chain.

use celeriac_protocol::{Body, Embed, Signature, Value};

use crate::options::{CHORD, CHORD_UNLOCK};

/// Adds what follows from one of Celery's own tasks. What cannot be read is left to the task, which
/// refuses it.
pub(crate) fn add_follow_ups(task: &str, body: &Body, embed: &mut Embed) {
    let steps = match task {
        CHORD_UNLOCK => argument(body, "callback", 1).and_then(body_of_chord),
        CHORD => chord(body).map(|chord| (vec![chord], Vec::new())),
        _ => None,
    };
    if let Some((mut steps, errbacks)) = steps {
        steps.append(&mut embed.chain);
        embed.chain = steps;
        embed.errbacks.extend(errbacks);
    }
}

/// Returns the steps of the body, and its errbacks: they are called with the id of the body.
fn body_of_chord(body: &Value) -> Option<(Vec<Signature>, Vec<Signature>)> {
    let steps = Signature::read(body).ok()?.into_steps().ok()?;
    let id = steps.last().and_then(Signature::task_id).unwrap_or_default().to_owned();
    let errbacks = steps.first().and_then(|first| first.errbacks().ok()).unwrap_or_default();
    let told = |errback: Signature| errback.called_with([Value::from(id.as_str())]).immutable();
    Some((steps, errbacks.into_iter().map(told).collect()))
}

/// Returns the chord of `celery.chord(header, body, partial_args)`.
fn chord(body: &Body) -> Option<Signature> {
    let (header, after) = (argument(body, "header", 0)?, argument(body, "body", 1)?);
    let chord = Signature::new(CHORD).kwarg("header", header.clone()).kwarg("body", after.clone());
    let parts = chord.into_chord_parts().ok()?;
    let partial = match argument(body, "partial_args", 2) {
        Some(Value::List(partial)) => partial.as_slice(),
        _ => &[],
    };
    let header = parts.header.into_iter().map(|member| member.called_with(partial.iter().cloned())).collect();
    // The result of the task itself is not an argument of the members.
    let header = Signature::group(header);
    Some(Signature::chord(header, parts.body).immutable())
}

fn argument<'a>(body: &'a Body, name: &str, position: usize) -> Option<&'a Value> {
    body.kwargs.get(name).or_else(|| body.args.get(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        let Value::Map(kwargs) = serde_json::from_str(text).unwrap() else { panic!("no map") };
        Body { kwargs, ..Body::default() }
    }

    fn names(steps: &[Signature]) -> Vec<&str> {
        steps.iter().map(|step| step.task.as_str()).collect()
    }

    #[test]
    fn the_body_follows_from_its_unlock_and_its_errbacks_get_its_id() {
        let mut embed = Embed::default();
        let callback = body(
            r#"{"callback": {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [
                {"task": "a", "options": {"task_id": "1", "link_error": [{"task": "told", "args": ["x"]}]}},
                {"task": "b", "options": {"task_id": "2"}}]}}}"#,
        );
        add_follow_ups(CHORD_UNLOCK, &callback, &mut embed);
        assert_eq!(names(&embed.chain), ["a", "b"]);
        assert_eq!(embed.errbacks, [Signature::new("told").arg("2").arg("x").immutable()]);
        for (task, given) in [(CHORD_UNLOCK, r#"{"callback": 7}"#), (CHORD, r#"{"header": [7]}"#), ("a", "{}")] {
            let mut embed = Embed::default();
            add_follow_ups(task, &body(given), &mut embed);
            assert!(embed.is_empty(), "{task} {given}");
        }
    }

    #[test]
    fn a_chord_follows_from_its_task_with_its_partial_arguments() {
        let mut embed = Embed::default();
        let given = r#"{"header": [{"task": "a", "args": [2]}], "body": {"task": "b"}, "partial_args": [1]}"#;
        add_follow_ups(CHORD, &body(given), &mut embed);
        let header = Signature::group(vec![Signature::new("a").arg(1_i64).arg(2_i64)]);
        assert_eq!(embed.chain, [Signature::chord(header, Signature::new("b")).immutable()]);
    }
}
