//! `audit`: lists the actions of operators, and those that have not ended.

use celeriac_results::{AuditRecord, LastError, connect_watched};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value as Json;

use crate::args::AuditArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

/// An action, as printed.
#[derive(Debug, Serialize)]
struct ShownAction {
    number: i64,
    began_at: Timestamp,
    ended_at: Option<Timestamp>,
    action: String,
    target: Json,
    count: Option<u64>,
    error: Option<String>,
    os_user: String,
    host: String,
    program: String,
    database_user: Option<String>,
}

impl From<AuditRecord> for ShownAction {
    fn from(row: AuditRecord) -> Self {
        Self {
            number: row.number,
            began_at: row.began_at,
            ended_at: row.ended_at,
            action: row.action,
            target: row.target,
            count: row.count,
            error: row.error,
            os_user: row.operator.os_user,
            host: row.operator.host,
            program: row.operator.program,
            database_user: row.database_user,
        }
    }
}

impl ShownAction {
    fn text(&self) -> String {
        let Self { began_at, action, os_user, host, target, .. } = self;
        let [action, os_user, host] = [action, os_user, host].map(|text| output::one_line(text));
        let target = target.to_string();
        let (target, outcome) = (output::one_line(&target), self.outcome());
        format!("{began_at:.0} {action} by {os_user}@{host}: {outcome}\n    {target}")
    }

    fn outcome(&self) -> String {
        let count = self.count.unwrap_or_default();
        match (self.ended_at, &self.error) {
            (None, _) => "not ended".to_owned(),
            (Some(_), None) => format!("changed {count}"),
            (Some(_), Some(error)) => format!("failed, changed {count}: {}", output::one_line(error)),
        }
    }
}

pub(crate) async fn run(program: &Program, args: &AuditArgs, json: bool) -> Result<(), Error> {
    let last_error = LastError::default();
    let store = connect_watched(&program.results, last_error.clone());
    let store = waiting::for_database(&program.results, &last_error, store).await.map_err(Error::Results)?;
    let Some(store) = store else { return Err(celeriac_client::Error::NoResults.into()) };
    let found = store.actions(args.open, args.limit).await;
    store.close().await;
    let shown: Vec<_> = found.map_err(Error::Results)?.into_iter().map(ShownAction::from).collect();
    output::answer(json, &shown, || text(&shown, args.open));
    Ok(())
}

fn text(shown: &[ShownAction], open: bool) -> String {
    if shown.is_empty() {
        return if open { "every action has ended" } else { "no action" }.to_owned();
    }
    shown.iter().map(ShownAction::text).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_action_is_two_lines_whatever_its_target_and_says_if_it_has_not_ended() {
        let mut shown = ShownAction {
            number: 1,
            began_at: Timestamp::from_millisecond(1_500).unwrap(),
            ended_at: None,
            action: "dead purge".to_owned(),
            target: json!({"queues": ["a\nb"]}),
            count: None,
            error: None,
            os_user: "ada\n".to_owned(),
            host: "here".to_owned(),
            program: "celeriac 0.1.0".to_owned(),
            database_user: None,
        };
        let line = |outcome| {
            format!("1970-01-01T00:00:01Z dead purge by ada\\n@here: {outcome}\n    {{\"queues\":[\"a\\nb\"]}}")
        };
        assert_eq!(shown.text(), line("not ended"));
        (shown.ended_at, shown.count) = (Some(Timestamp::UNIX_EPOCH), Some(3));
        assert_eq!(shown.text(), line("changed 3"));
        shown.error = Some("no\nbroker".to_owned());
        assert_eq!(shown.text(), line("failed, changed 3: no\\nbroker"));
    }
}
