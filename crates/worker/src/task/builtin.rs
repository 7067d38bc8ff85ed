//! Celery's own tasks, which Celery clients may send to a shared queue.
//!
//! Every worker runs those that `worker.builtin_tasks` lists, and no list of tasks shows them. They
//! run no more and send no more than the limits for follow-ups allow.

mod arguments;
mod unlock;

use std::sync::LazyLock;
use std::time::Duration;

use celeriac_client::DynamicCall;
use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Body, RetryPolicy, Signature, TaskOptions, Value};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::allowed::NotAllowed;
use crate::follow_up_size::{FollowUpSize, OverLimit, least_size, list_size, signature_size};
use crate::options::{CHORD, CHORD_UNLOCK};
use crate::task::builtin::arguments::TaskArguments;
use crate::task::context::TaskContext;
use crate::task::definition::TaskDefinition;
use crate::task::derived_id::derived_id;
use crate::task::error::{TaskError, TaskResult};
use crate::task::result::{JsonResult, read, write, write_value};

/// Number of rows that a clean-up deletes in one statement.
const SWEEP: u32 = 10_000;

/// Returns Celery's own task of this name, if it is supported.
pub(crate) fn find(name: &str) -> Option<&'static TaskDefinition> {
    static SERVED: LazyLock<[TaskDefinition; 9]> = LazyLock::new(|| {
        let once = TaskOptions::default();
        // These tasks send messages and may run again, so the id of each message is derived from
        // their own.
        let sending = TaskOptions {
            retry: RetryPolicy::backoff(Duration::from_secs(1), Duration::from_secs(60)).times(10),
            ..TaskOptions::default()
        };
        // Each look at the members is an attempt.
        let looking = TaskOptions {
            retry: RetryPolicy { max_retries: None, ..RetryPolicy::backoff(unlock::INTERVAL, unlock::INTERVAL) },
            ..TaskOptions::default()
        };
        [
            TaskDefinition::native("celery.ping", once.clone(), |_, _| async { write("pong") }.boxed()),
            TaskDefinition::native("celery.backend_cleanup", once.clone(), |ctx, _| clean_up(ctx).boxed()),
            TaskDefinition::native("celery.accumulate", once.clone(), |_, body| async { accumulate(body) }.boxed()),
            TaskDefinition::native("celery.map", once.clone(), |ctx, body| each(ctx, body, ItemShape::Argument)),
            TaskDefinition::native("celery.starmap", once, |ctx, body| each(ctx, body, ItemShape::ArgumentList)),
            TaskDefinition::native("celery.chunks", sending.clone(), |ctx, body| chunks(ctx, body).boxed()),
            TaskDefinition::native("celery.group", sending, |ctx, body| group(ctx, body).boxed()),
            TaskDefinition::native(CHORD, TaskOptions::default(), |_, body| async { chord(body) }.boxed()),
            TaskDefinition::native(CHORD_UNLOCK, looking, |ctx, body| unlock::unlock(ctx, TaskArguments(body)).boxed()),
        ]
    });
    // Tests the prefix first, because it excludes all other tasks.
    if !name.starts_with("celery.") {
        return None;
    }
    SERVED.iter().find(|task| task.name == name)
}

/// Returns the reason why one of Celery's own tasks is not supported.
pub(crate) fn why_unserved(name: &str) -> Option<&'static str> {
    match name {
        "celery.chain" => Some("a chain is not a task, and Celery's workers refuse it as well"),
        _ => None,
    }
}

/// Deletes the rows of tasks that ended before the retention time.
async fn clean_up(ctx: TaskContext) -> JsonResult {
    let keep = ctx.environment.keep;
    if let Some(results) = ctx.environment.client.results()
        && !keep.is_zero()
    {
        while results.sweep(keep, SWEEP).await? >= u64::from(SWEEP) {}
    }
    write(&())
}

/// Returns its arguments as a list, or one of them.
fn accumulate(mut body: Body) -> JsonResult {
    match body.kwargs.swap_remove("index") {
        None | Some(Value::Null) => write_value(&Value::List(body.args)),
        Some(index) => {
            let position = index.as_i64().and_then(|index| match usize::try_from(index) {
                Ok(index) => Some(index),
                // Counts from the end, as in Python.
                Err(_) => body.args.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
            });
            let value = position.and_then(|position| body.args.get(position));
            write_value(value.ok_or_else(|| TaskError::of_kind("IndexError", "list index out of range"))?)
        }
    }
}

/// The form of an item: one argument, or a list of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ItemShape {
    Argument,
    ArgumentList,
}

/// Calls a task with each item of a list, one after the other, and returns the list of results.
fn each(ctx: TaskContext, body: Body, shape: ItemShape) -> BoxFuture<'static, JsonResult> {
    async move {
        let mut given = TaskArguments(body);
        let (signature, items) = (given.task()?, given.list("it", 1)?);
        let run = (ctx.environment.find_inline)(&signature.task)
            .ok_or_else(|| TaskError::of_kind("NotRegistered", format!("no task has the name `{}`", signature.task)))?;
        let mut results = Vec::with_capacity(items.len().min(1_024));
        for item in items {
            let args = match (shape, item) {
                (ItemShape::ArgumentList, Value::List(args)) => args,
                (ItemShape::ArgumentList, other) => {
                    return Err(TaskError::of_kind(
                        "TypeError",
                        format!("an item should be a list, got {}", other.kind()),
                    ));
                }
                (ItemShape::Argument, item) => vec![item],
            };
            let body = Body { args, ..Body::default() };
            let result = run(ctx.clone(), body).await?;
            results.push(read(&result)?);
        }
        write_value(&Value::List(results))
    }
    .boxed()
}

/// Sends a list in parts. Each part is a task of its own.
async fn chunks(ctx: TaskContext, body: Body) -> JsonResult {
    let mut given = TaskArguments(body);
    let (signature, items) = (given.task()?, given.list("it", 1)?);
    let length = given.take("n", 2).as_i64().and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length > 0);
    let length = length.ok_or_else(|| TaskError::of_kind("ValueError", "n should be at least 1"))?;
    let mut size = FollowUpSize::default();
    let each = signature_size(&signature);
    items.chunks(length).for_each(|part| size.add(each.saturating_add(list_size(part))));
    let parts = items.chunks(length).map(|part| {
        let mut starmap = Signature::new("celery.starmap");
        starmap.kwargs.insert("task".to_owned(), signature.clone().into());
        starmap.kwargs.insert("it".to_owned(), Value::List(part.to_vec()));
        Ok(starmap)
    });
    send_group(&ctx, derived_id(ctx.id(), "group"), size, parts).await
}

/// Sends the members of a group, for a client that leaves it to a worker.
async fn group(ctx: TaskContext, body: Body) -> JsonResult {
    let mut given = TaskArguments(body);
    let members = given.list("tasks", 0)?;
    let id = given.take("group_id", 2).as_str().map_or_else(|| derived_id(ctx.id(), "group"), str::to_owned);
    let partial = given.list("partial_args", 3)?;
    let mut size = FollowUpSize::default();
    let before = list_size(&partial);
    members.iter().for_each(|member| size.add(before.saturating_add(least_size(member))));
    let tasks = members.into_iter().map(|member| {
        let member =
            Signature::from_value(member).map_err(|error| TaskError::of_kind("TypeError", error.to_string()))?;
        if member.kind() != SignatureKind::Task {
            let message = format!("task `{}` is not supported in a group that a worker sends", member.task);
            return Err(TaskError::of_kind("NotImplementedError", message));
        }
        Ok(member.called_with(partial.iter().cloned()))
    });
    send_group(&ctx, id, size, tasks).await
}

/// Sends tasks as a group, and returns the ids, as Celery's result does. `size` is their size: a
/// task is built when it is sent, after all of them were counted.
async fn send_group(
    ctx: &TaskContext,
    group: String,
    size: FollowUpSize,
    tasks: impl Iterator<Item = TaskResult<Signature>> + Send,
) -> JsonResult {
    let refused = |kind: &str, reason, message| TaskError::refuse(reason, kind, message);
    let environment = &ctx.environment;
    size.check(&environment.follow_up_limits)
        .map_err(|error| refused(OverLimit::KIND, OverLimit::REASON, error.to_string()))?;
    let client = ctx.client();
    let mut members = Vec::new();
    for (index, task) in tasks.enumerate() {
        let mut request = DynamicCall::from_signature(task?, client.topology()).map_err(TaskError::from_boxed)?;
        let id = request.options.id.get_or_insert_with(|| derived_id(ctx.id(), &index.to_string())).clone();
        request.options.relations.group = Some(group.clone());
        request.options.relations.group_index = i64::try_from(index).ok();
        if environment.allowed_follow_ups.is_limited() {
            let prepared = client.prepare(request.clone(), TaskOptions::default()).map_err(TaskError::from_boxed)?;
            let allowed = environment.allowed_follow_ups.check(&prepared.destination);
            allowed.map_err(|error| refused(NotAllowed::KIND, NotAllowed::REASON, error.to_string()))?;
        }
        client.submit_dynamic(request).await.map_err(TaskError::from_boxed)?;
        members.push(Value::List(vec![Value::List(vec![id.into(), Value::Null]), Value::Null]));
    }
    write_value(&Value::List(vec![Value::List(vec![group.into(), Value::Null]), Value::List(members)]))
}

/// Checks a chord. It follows from the task: see `attempt/celerys_chords.rs`.
fn chord(body: Body) -> JsonResult {
    let mut given = TaskArguments(body);
    let chord = Signature::new(CHORD).kwarg("header", given.take("header", 0)).kwarg("body", given.take("body", 1));
    chord.into_chord_parts().map_err(|error| TaskError::of_kind("TypeError", error.to_string()))?;
    write(&())
}

#[cfg(test)]
mod tests {
    use celeriac_protocol::Map;

    use super::*;
    use crate::options::BUILTIN_TASKS;

    fn body(args: &[i64], index: Value) -> Body {
        let kwargs: Map = [("index".to_owned(), index)].into_iter().collect();
        Body { args: args.iter().copied().map(Value::Int).collect(), kwargs, embed: Value::Null }
    }

    #[test]
    fn accumulate_counts_as_python_does() {
        assert_eq!(accumulate(body(&[1, 2], Value::Null)).unwrap(), "[1,2]");
        assert_eq!(accumulate(body(&[1, 2], Value::Int(0))).unwrap(), "1");
        assert_eq!(accumulate(body(&[1, 2], Value::Int(-1))).unwrap(), "2");
        assert_eq!(accumulate(body(&[1, 2], Value::Int(2))).unwrap_err().failure().kind, "IndexError");
        assert_eq!(accumulate(body(&[1, 2], Value::Int(-3))).unwrap_err().failure().kind, "IndexError");
    }

    #[test]
    fn a_name_is_one_of_celerys_own_or_is_not() {
        assert!(BUILTIN_TASKS.iter().all(|name| find(name).is_some()));
        assert!(find("celery.chain").is_none() && why_unserved("celery.chain").is_some());
        assert!(find("orders.charge").is_none() && why_unserved("orders.charge").is_none());
    }
}
