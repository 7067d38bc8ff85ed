//! `dead replay` and `dead purge`: take dead letters off their queues, after a confirmation.

use std::time::Duration;

use celeriac_admin::Filter;
use celeriac_admin::dead::{Removal, Replay, ReplayOptions, Tally};
use celeriac_config::duration;
use celeriac_results::{LastError, OperatorAction, connect_watched};
use celeriac_telemetry::events::telemetry::FlushFailed;
use celeriac_telemetry::{ErrorChain, Event, Telemetry, clock};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::source::{DeadLetterSource, check_reason};
use super::survey::Survey;
use crate::args::CommandName;
use crate::args::{DeadFilter, RemovalArgs, ReplayArgs};
use crate::audit::audited;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

/// Longest time for the last traces.
const FLUSH: Duration = Duration::from_secs(5);

pub(super) async fn replay(
    (program, name): (&Program, &CommandName),
    source: &DeadLetterSource,
    args: ReplayArgs,
    json: bool,
) -> Result<(), Error> {
    let ReplayArgs { removal: args, to, rate, drop_expires } = args;
    let to = to.map(|to| source.declared("--to", &to)).transpose()?;
    let filter = filter(program, source, &args).await?;
    if !may_begin(source, &filter, &args, RemovalKind::Replay { drop_expires }, json).await? {
        return Ok(());
    }
    let telemetry = start_telemetry(program)?;
    let details = json!({ "to": to, "rate": rate.map(|rate| rate.to_string()), "drop_expires": drop_expires });
    let action = OperatorAction { name: "dead replay", target: target(source, &args, details) };
    let replay = Replay { to, options: ReplayOptions { drop_expires }, rate };
    let removal = Removal::replay(&*source.broker, &filter, &replay, args.limit);
    let outcome = audited(program, name, action, carry_out(source, removal, &args, "replayed", json)).await;
    if let Err(error) = telemetry.shutdown(FLUSH).await {
        // The messages are replayed. Lost traces are no reason for another exit code.
        FlushFailed { error: &ErrorChain(&error).to_string() }.emit();
    }
    outcome
}

pub(super) async fn purge(
    (program, name): (&Program, &CommandName),
    source: &DeadLetterSource,
    args: &RemovalArgs,
    json: bool,
) -> Result<(), Error> {
    let filter = filter(program, source, args).await?;
    if !may_begin(source, &filter, args, RemovalKind::Purge, json).await? {
        return Ok(());
    }
    let action = OperatorAction { name: "dead purge", target: target(source, args, json!({})) };
    let removal = Removal::purge(&*source.broker, &filter, args.limit);
    audited(program, name, action, carry_out(source, removal, args, "purged", json)).await
}

/// Returns the filter of the flags. Ages count by the clock of the store, which wrote the times of
/// the letters.
async fn filter(program: &Program, source: &DeadLetterSource, args: &RemovalArgs) -> Result<Filter, Error> {
    let wanted = args.filter.wanted();
    let now = match wanted.older_than.or(wanted.newer) {
        Some(_) => Box::pin(store_time(program)).await?,
        None => clock::now(),
    };
    source.filter(wanted, now)
}

async fn store_time(program: &Program) -> Result<Timestamp, Error> {
    let last_error = LastError::default();
    let store = connect_watched(&program.results, last_error.clone());
    let store = waiting::for_database(&program.results, &last_error, store).await.map_err(Error::Results)?;
    let Some(store) = store else { return Ok(clock::now()) };
    let now = store.clock().now();
    store.close().await;
    Ok(now)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RemovalKind {
    Replay { drop_expires: bool },
    Purge,
}

impl RemovalKind {
    fn name(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Purge => "purge",
        }
    }
}

/// Counts the letters and asks. Returns `false` for a dry run.
async fn may_begin(
    source: &DeadLetterSource,
    filter: &Filter,
    args: &RemovalArgs,
    verb: RemovalKind,
    json: bool,
) -> Result<bool, Error> {
    if args.yes && !args.dry_run {
        return Ok(true);
    }
    let survey = Survey::take(source, filter, args.limit.unwrap_or(u64::MAX), drop).await?;
    check_reason(args.filter.reason.as_deref(), survey.matching)?;
    let name = verb.name();
    if args.dry_run {
        output::answer(json, &survey, || format!("would {name} {}\n{}", of(&survey), survey.text()));
    }
    if survey.expired > 0 && verb == (RemovalKind::Replay { drop_expires: false }) {
        output::notice(&format!("{} have expired, and expire again unless --drop-expires is given", survey.expired));
    }
    if args.dry_run {
        return Ok(false);
    }
    if args.filter.id.is_some() || survey.matching == 0 {
        // An id is a choice already. Without a letter there is nothing to confirm.
        return Ok(true);
    }
    output::notice(survey.text().trim_end());
    output::confirm(&format!("{name} {}?", of(&survey)))?;
    Ok(true)
}

fn of(survey: &Survey) -> String {
    format!("{} of {} dead letters", survey.matching, survey.standing())
}

#[derive(Serialize)]
struct RemovalReport<'a> {
    done: &'static str,
    #[serde(flatten)]
    tally: &'a Tally,
}

/// Returns the queues, the filter and the options of a removal, without those that are not set.
fn target(source: &DeadLetterSource, args: &RemovalArgs, mut details: Json) -> Json {
    let DeadFilter { queues: _, task, id, reason, error, older_than, newer } = &args.filter;
    let age = |age: &Option<Duration>| age.map(duration::format);
    let mut filter = json!({
        "task": task, "id": id, "reason": reason, "error": error, "older_than": age(older_than), "newer": age(newer),
    });
    for part in [&mut filter, &mut details] {
        if let Json::Object(part) = part {
            part.retain(|_, value| !value.is_null());
        }
    }
    let mut target = json!({ "queues": source.queues, "filter": filter, "options": details });
    if let Some(limit) = args.limit {
        target["options"]["limit"] = limit.into();
    }
    target
}

/// Removes the letters. Returns the number of removed ones.
async fn carry_out(
    source: &DeadLetterSource,
    mut removal: Removal<'_>,
    args: &RemovalArgs,
    done: &'static str,
    json: bool,
) -> (u64, Result<(), Error>) {
    let mut outcome = Ok(());
    for queue in &source.queues {
        match removal.go_through(queue).await {
            Ok(()) => {}
            Err(error) if source.may_lack(&error) => {}
            Err(error) => {
                outcome = Err(Error::Broker(error));
                break;
            }
        }
    }
    let tally = removal.tally();
    let Tally { removed, left, .. } = tally;
    output::answer(json, &RemovalReport { done, tally }, || format!("{removed} {done}, {left} left"));
    (*removed, outcome.and_then(|()| check_tally(tally, args)))
}

/// Returns an error if nothing matched by name, or if a letter could not be replayed.
fn check_tally(tally: &Tally, args: &RemovalArgs) -> Result<(), Error> {
    let Tally { removed, stuck, reason, .. } = tally;
    check_reason(args.filter.reason.as_deref(), removed + stuck)?;
    match (&args.filter.id, reason) {
        (_, Some(reason)) => {
            Err(Error::Data { what: format!("{stuck} could not be replayed"), reason: reason.clone() })
        }
        (Some(id), None) if *removed == 0 => Err(nobody(id)),
        _ => Ok(()),
    }
}

/// Returns the error of an id without a dead letter.
pub(super) fn nobody(id: &str) -> Error {
    Error::Data { what: format!("task {id}"), reason: "no dead letter has this id".to_owned() }
}

/// Starts telemetry as configured, with the log level `warn`: the answer is on the terminal. The
/// address of the health server may belong to a worker.
fn start_telemetry(program: &Program) -> Result<Telemetry, Error> {
    let mut options = program.telemetry.clone();
    "warn".clone_into(&mut options.log.level);
    options.listen = None;
    Telemetry::start(&options, &program.instance).map_err(Error::Telemetry)
}
