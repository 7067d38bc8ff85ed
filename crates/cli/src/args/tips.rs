//! Tips for a command line that is not understood.
//!
//! clap's own tips are replaced: it suggests whatever looks a little alike, and offers to pass an
//! unknown flag as a value, which no verb has a use for.

use std::ffi::OsString;

use celeriac_config::closest_typo;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};
use serde_json::Value as Json;

/// Flags of Celery and of similar tools, with the flag that does the same here.
const OTHER_FLAGS: &[(&str, &str)] = &[
    ("after", "countdown"),
    ("at", "eta"),
    ("backend", "results"),
    ("broker-url", "broker"),
    ("delay", "countdown"),
    ("delete", "prune"),
    ("force", "yes"),
    ("hostname", "name"),
    ("log-level", "loglevel"),
    ("name", "task"),
    ("newer-than", "newer"),
    ("prefetch-multiplier", "prefetch"),
    ("queue", "queues"),
    ("queues", "queue"),
    ("result-backend", "results"),
    ("since", "failed-since"),
    ("since", "newer"),
    ("task-id", "id"),
    ("timeout", "wait"),
];

/// Verbs of Celery and of similar tools, with the verb that does the same here.
const OTHER_VERBS: &[(&str, &str)] = &[("run", "worker"), ("send", "call"), ("start", "worker")];

/// Replaces the tip of an error.
pub(super) fn with_tip(mut error: Error, command: &mut Command, arguments: &[OsString]) -> Error {
    command.build();
    let verb = named_verb(command, arguments);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let Some(given) = text(&error, ContextKind::InvalidArg) else { return error };
            error.remove(ContextKind::Suggested);
            error.remove(ContextKind::SuggestedArg);
            // clap's usage has the flag in it that it suggests.
            error.insert(ContextKind::Usage, ContextValue::StyledStr(verb.clone().render_usage()));
            if let Some(flag) = similar_flag(&given, verb) {
                error.insert(ContextKind::SuggestedArg, ContextValue::String(flag));
            } else if let Some(place) = place(&given, verb) {
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(place)]));
            }
        }
        ErrorKind::InvalidSubcommand => {
            let Some(given) = text(&error, ContextKind::InvalidSubcommand) else { return error };
            error.remove(ContextKind::Suggested);
            error.remove(ContextKind::SuggestedSubcommand);
            if let Some(verb) = similar_verb(&given, verb) {
                error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![verb]));
            }
        }
        _ => {}
    }
    error
}

/// Returns the command of the verb in the arguments.
fn named_verb<'c>(command: &'c Command, arguments: &[OsString]) -> &'c Command {
    arguments.iter().skip(1).fold(command, |command, argument| {
        argument.to_str().and_then(|word| command.find_subcommand(word)).unwrap_or(command)
    })
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the flag of a verb that is meant by `given`.
fn similar_flag(given: &str, verb: &Command) -> Option<String> {
    let given = given.strip_prefix("--")?.replace('_', "-");
    let flags: Vec<_> = verb.get_arguments().filter_map(Arg::get_long).collect();
    let other = OTHER_FLAGS.iter().find(|(other, own)| *other == given && flags.contains(own)).map(|(_, own)| *own);
    let same = || flags.iter().copied().find(|flag| *flag == given);
    let longer = || flags.iter().copied().find(|flag| given.len() > 2 && flag.starts_with(&given));
    let flag = other.or_else(same).or_else(|| closest_typo(&given, flags.iter().copied())).or_else(longer)?;
    Some(format!("--{flag}"))
}

/// Returns the place of a value that stands alone and should not, or has a flag and should stand
/// alone.
fn place(given: &str, verb: &Command) -> Option<String> {
    if let Some(flag) = given.strip_prefix("--") {
        let positional = verb.get_positionals().find(|positional| positional.get_id() == flag)?;
        let name = positional.get_value_names().and_then(|names| names.first())?;
        return Some(format!("{name} has no flag: write the value alone"));
    }
    let has = |flag| !given.starts_with('-') && verb.get_arguments().any(|known| known.get_long() == Some(flag));
    if has("kwargs") {
        let flag = match serde_json::from_str(given).unwrap_or_else(|_| Json::from(given)) {
            list @ Json::Array(_) => format!("--args '{list}'"),
            object @ Json::Object(_) => format!("--kwargs '{object}'"),
            value => format!("--args '[{value}]'"),
        };
        Some(format!("arguments of the task have a flag: {flag}"))
    } else if has("queue") || has("queues") {
        Some(format!("queues have a flag: -Q {given}"))
    } else if has("to") {
        Some(format!("the new queue has a flag: --to {given}"))
    } else {
        None
    }
}

/// Returns the verb that is meant by `given`, which may be below another verb.
fn similar_verb(given: &str, command: &Command) -> Option<String> {
    let verbs: Vec<_> = command.get_subcommands().map(Command::get_name).filter(|name| *name != "help").collect();
    let other = OTHER_VERBS.iter().find(|(other, own)| *other == given && verbs.contains(own)).map(|(_, own)| *own);
    if let Some(verb) = other.or_else(|| closest_typo(given, verbs.iter().copied())) {
        return Some(verb.to_owned());
    }
    if let [only] = verbs[..] {
        return Some(format!("{only} {given}"));
    }
    let has = |verb: &&Command| verb.get_name() != "help" && verb.find_subcommand(given).is_some();
    command.get_subcommands().find(has).map(|above| format!("{} {given}", above.get_name()))
}

#[cfg(test)]
mod tests {
    use crate::args::CommandLine;
    use crate::args::CommandName;

    use super::*;

    fn refused(line: &[&str]) -> String {
        let name = CommandName::of(Some("shop".as_ref()));
        let line: Vec<_> = [&["shop"], line].concat().into_iter().map(OsString::from).collect();
        CommandLine::read(&name, &line).unwrap_err().to_string()
    }

    #[test]
    fn a_flag_of_another_tool_or_with_a_slip_has_the_right_tip_or_none() {
        for (line, expected) in [
            (["call", "shop.pay", "--delay", "5m"].as_slice(), Some("--countdown")),
            (&["call", "shop.pay", "--countdwon=5m"], Some("--countdown")),
            (&["call", "shop.pay", "--task_id", "x"], Some("--id")),
            (&["call", "shop.pay", "--routing_key", "x"], Some("--routing-key")),
            (&["worker", "--queue", "mail"], Some("--queues")),
            (&["worker", "--hostname", "w"], Some("--name")),
            (&["worker", "--drain", "5s"], Some("--drain-timeout")),
            (&["dead", "list", "--queues", "mail"], Some("--queue")),
            (&["dead", "purge", "--force"], Some("--yes")),
            (&["call", "shop.pay", "--colour", "red"], None),
            (&["result", "x", "--verbose"], None),
        ] {
            let said = refused(line);
            match expected {
                Some(flag) => assert!(said.contains(&format!("argument exists: '{flag}'\n")), "{line:?}: {said}"),
                None => assert!(!said.contains("tip:"), "{line:?}: {said}"),
            }
            assert!(!said.contains("as a value") && said.contains(&format!("Usage: shop {}", line[0])), "{said}");
        }
    }

    #[test]
    fn a_value_in_the_wrong_place_is_told_its_place() {
        for (line, expected) in [
            (["call", "shop.pay", "17", "1299"].as_slice(), "tip: arguments of the task have a flag: --args '[17]'"),
            (&["call", "shop.pay", r#"{"order": 17}"#], r#"--kwargs '{"order":17}'"#),
            (&["call", "shop.mail", "ada"], "--args '[\"ada\"]'"),
            (&["queues", "mail"], "tip: queues have a flag: -Q mail"),
            (&["dead", "list", "mail"], "tip: queues have a flag: -Q mail"),
            (&["topology", "migrate", "old", "new"], "tip: the new queue has a flag: --to new"),
            (&["dead", "show", "--id", "x"], "tip: ID has no flag: write the value alone"),
            (&["call", "--task", "shop.pay"], "tip: TASK has no flag: write the value alone"),
        ] {
            let said = refused(line);
            assert!(said.contains(expected), "{line:?}: {said}");
        }
    }

    #[test]
    fn a_verb_of_another_tool_or_below_another_verb_is_found() {
        for (line, expected) in [
            (["wroker"].as_slice(), "'worker'"),
            (&["send"], "'call'"),
            (&["purge"], "'dead purge'"),
            (&["migrate"], "'topology migrate'"),
            (&["routes", "shop.pay"], "'explain shop.pay'"),
        ] {
            let said = refused(line);
            assert!(said.contains(&format!("subcommand exists: {expected}")), "{line:?}: {said}");
        }
        let said = refused(&["beat"]);
        assert!(!said.contains("exists"), "{said}");
    }
}
