//! The table of remote commands, and those that a worker obeys.

use std::fmt;

use celeriac_config::{did_you_mean, nearest};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A remote command.
#[derive(Debug)]
pub(crate) struct RemoteCommand {
    pub(crate) name: &'static str,
    /// The name that older tools use.
    alias: Option<&'static str>,
    pub(crate) kind: CommandKind,
}

/// The effect of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandKind {
    /// It shows something.
    Inspect,
    /// It changes the worker.
    Control,
}

const fn inspect(name: &'static str) -> RemoteCommand {
    RemoteCommand { name, alias: None, kind: CommandKind::Inspect }
}

const fn inspect_as(name: &'static str, alias: &'static str) -> RemoteCommand {
    RemoteCommand { name, alias: Some(alias), kind: CommandKind::Inspect }
}

const fn control(name: &'static str) -> RemoteCommand {
    RemoteCommand { name, alias: None, kind: CommandKind::Control }
}

/// Every command. `control::commands` has the function of each.
const COMMANDS: &[RemoteCommand] = &[
    inspect_as("active", "dump_active"),
    inspect("active_queues"),
    inspect("clock"),
    inspect_as("conf", "dump_conf"),
    inspect("hello"),
    inspect("memdump"),
    inspect("memsample"),
    inspect("objgraph"),
    inspect("ping"),
    inspect("query_task"),
    inspect_as("registered", "dump_tasks"),
    inspect("report"),
    inspect_as("reserved", "dump_reserved"),
    inspect_as("revoked", "dump_revoked"),
    inspect_as("scheduled", "dump_schedule"),
    inspect("stats"),
    control("add_consumer"),
    control("autoscale"),
    control("cancel_consumer"),
    control("disable_events"),
    control("election"),
    control("enable_events"),
    control("heartbeat"),
    control("pool_grow"),
    control("pool_restart"),
    control("pool_shrink"),
    control("rate_limit"),
    control("revoke"),
    control("revoke_by_stamped_headers"),
    control("shutdown"),
    control("terminate"),
    control("time_limit"),
];

impl RemoteCommand {
    /// Returns the command of this name.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        COMMANDS.iter().find(|command| command.name == name || command.alias == Some(name))
    }
}

/// The remote commands that a worker obeys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ControlAccess {
    /// Every command.
    #[default]
    All,
    /// The commands that only show something.
    InspectOnly,
    /// None. The worker has no queue for them, and no tool sees it.
    Off,
    /// The commands of these names.
    Only(Vec<String>),
}

impl ControlAccess {
    /// Returns `true` if the worker obeys a command.
    pub(crate) fn allows(&self, command: &RemoteCommand) -> bool {
        match self {
            Self::All => true,
            Self::InspectOnly => command.kind == CommandKind::Inspect,
            Self::Off => false,
            Self::Only(names) => names.iter().any(|name| name == command.name),
        }
    }

    /// Returns the names that are no command, each with its position.
    pub(crate) fn problems(&self) -> Vec<(usize, String)> {
        let Self::Only(names) = self else { return Vec::new() };
        let known = || COMMANDS.iter().map(|command| command.name);
        let unknown = names.iter().enumerate().filter(|(_, name)| !known().any(|known| known == name.as_str()));
        let problem = |name: &String| format!("`{name}` is no remote command{}", did_you_mean(nearest(name, known())));
        unknown.map(|(index, name)| (index, problem(name))).collect()
    }
}

impl Serialize for ControlAccess {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::InspectOnly => serializer.serialize_str("inspect-only"),
            Self::Off => serializer.serialize_str("off"),
            Self::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ControlAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AccessVisitor;
        impl<'de> Visitor<'de> for AccessVisitor {
            type Value = ControlAccess;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`all`, `inspect-only`, `off` or a list of commands")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ControlAccess, E> {
                match text {
                    "all" => Ok(ControlAccess::All),
                    "inspect-only" => Ok(ControlAccess::InspectOnly),
                    "off" => Ok(ControlAccess::Off),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<ControlAccess, A::Error> {
                let mut listed = Vec::new();
                while let Some(name) = names.next_element()? {
                    listed.push(name);
                }
                Ok(ControlAccess::Only(listed))
            }
        }
        deserializer.deserialize_any(AccessVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_read_as_it_is_written() {
        for text in [r#""all""#, r#""inspect-only""#, r#""off""#, r#"["ping","shutdown"]"#] {
            let access: ControlAccess = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&access).unwrap(), text);
        }
        let error = serde_json::from_str::<ControlAccess>(r#""some""#).unwrap_err().to_string();
        assert!(error.contains("`all`, `inspect-only`, `off` or a list of commands"), "{error}");
    }

    #[test]
    fn a_list_has_names_of_commands() {
        let access = ControlAccess::Only(vec!["ping".to_owned(), "shutdwn".to_owned()]);
        let expected = "`shutdwn` is no remote command, did you mean `shutdown`?".to_owned();
        assert_eq!(access.problems(), [(1, expected)]);
        let allows = |access: &ControlAccess, name: &str| access.allows(RemoteCommand::find(name).unwrap());
        assert!(allows(&access, "ping") && !allows(&access, "stats"));
        assert!(allows(&ControlAccess::InspectOnly, "dump_active") && !allows(&ControlAccess::InspectOnly, "shutdown"));
        assert!(allows(&ControlAccess::All, "shutdown") && !allows(&ControlAccess::Off, "ping"));
    }
}
