//! `failures`: shows failures by error, with the query `errors` of the cookbook.

use celeriac_results::{CookbookQuery, QueryParameter};
use celeriac_topology::Pattern;

use crate::args::FailuresArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::table::{AnswerRow, table};
use crate::verbs::query::{interval, postgres, rows};
use crate::waiting;

pub(crate) async fn run(program: &Program, args: FailuresArgs, json: bool) -> Result<(), Error> {
    let pattern = args.task.as_deref().map(task_pattern).transpose()?;
    let client = waiting::for_client(program).await?;
    let given = [(QueryParameter::Since, interval(args.since))];
    let answer = match (postgres(program, &client), CookbookQuery::named("errors")) {
        (Ok(store), Some(query)) => store.query(query, &given).await.map_err(Error::Results),
        (Ok(_), None) => Ok(Vec::new()),
        (Err(error), _) => Err(error),
    };
    client.close().await;
    let matches = |row: &AnswerRow| {
        pattern.as_ref().is_none_or(|pattern| pattern.matches(&row.column("name").unwrap_or_default()))
    };
    let found: Vec<_> = rows(&answer?)?.into_iter().filter(matches).collect();
    output::answer(json, &found, || table(&found));
    Ok(())
}

/// Reads the pattern of `--task`.
pub(crate) fn task_pattern(pattern: &str) -> Result<Pattern, Error> {
    Pattern::read(pattern).map_err(|reason| Error::Data { what: "--task".to_owned(), reason })
}
