//! `query`: runs a query of the cookbook, or lists them.

use std::time::Duration;

use celeriac_client::Client;
use celeriac_config::{did_you_mean, nearest};
use celeriac_results::cookbook::QUERIES;
use celeriac_results::{CookbookQuery, Error as ResultsError, PostgresBackend, QueryParameter};
use serde::Serialize;

use crate::args::{CommandName, QueryArgs};
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::table::{AnswerRow, table};
use crate::waiting;

/// A query, as it is listed.
#[derive(Debug, Serialize)]
struct ListedQuery {
    name: &'static str,
    subject: &'static str,
    flags: Vec<&'static str>,
}

pub(crate) async fn run(program: &Program, args: QueryArgs, name: &CommandName, json: bool) -> Result<(), Error> {
    let Some(wanted) = &args.name else {
        list(name, json);
        return Ok(());
    };
    let query = CookbookQuery::named(wanted).ok_or_else(|| {
        let near = did_you_mean(nearest(wanted, QUERIES.iter().map(|query| query.name)));
        let reason = name.in_text(&format!("no such query{near}; `celeriac query` lists them"));
        Error::Data { what: format!("query `{wanted}`"), reason }
    })?;
    let given = parameters(query, args)?;
    let client = waiting::for_client(program).await?;
    let answer = match postgres(program, &client) {
        Ok(store) => store.query(query, &given).await.map_err(Error::Results),
        Err(error) => Err(error),
    };
    client.close().await;
    let rows = rows(&answer?)?;
    output::answer(json, &rows, || table(&rows));
    Ok(())
}

/// Reads the rows of an answer.
pub(crate) fn rows(answer: &[String]) -> Result<Vec<AnswerRow>, Error> {
    let rows = answer.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>();
    rows.map_err(|source| {
        Error::Results(ResultsError::Sql { doing: "reading the rows of a query", source: source.into() })
    })
}

/// Returns the value of `--since` as an interval.
pub(crate) fn interval(since: Duration) -> String {
    format!("{} microseconds", since.as_micros())
}

/// Returns the Postgres store of a client.
pub(crate) fn postgres<'c>(program: &Program, client: &'c Client) -> Result<&'c PostgresBackend, Error> {
    let url = || program.results.url.masked().to_string();
    client.results().and_then(|store| store.postgres()).ok_or_else(|| Error::NeedsPostgres { url: url() })
}

fn list(name: &CommandName, json: bool) {
    let queries: Vec<_> = QUERIES
        .iter()
        .map(|query| ListedQuery {
            name: query.name,
            subject: query.subject,
            flags: query.parameters().map(flag).collect(),
        })
        .collect();
    output::answer(json, &queries, || {
        let lines = queries.iter().map(|query| {
            let ListedQuery { name, subject, flags } = query;
            let flags = if flags.is_empty() { String::new() } else { format!(" [{}]", flags.join(" ")) };
            format!("{name:<12}  {subject}{flags}")
        });
        let lines: Vec<_> = lines.collect();
        format!("{}\n\n{}", lines.join("\n"), name.in_text("run one with `celeriac query NAME`"))
    });
}

fn flag(parameter: QueryParameter) -> &'static str {
    match parameter {
        QueryParameter::Since => "--since",
        QueryParameter::Id => "--id",
        QueryParameter::Task => "--task",
        QueryParameter::Kwargs => "--kwargs",
        QueryParameter::At => "--at",
    }
}

/// Returns the values of the flags. A flag that the query does not use is an error, and so is a
/// missing id, name or time: the example of the page is not meant.
fn parameters(query: &CookbookQuery, args: QueryArgs) -> Result<Vec<(QueryParameter, String)>, Error> {
    let QueryArgs { name: _, since, id, task, kwargs, at } = args;
    let kwargs = kwargs.map(|text| super::arguments::arguments("[]", &text).map(|_| text)).transpose()?;
    let given = [
        (QueryParameter::Since, since.map(interval)),
        (QueryParameter::Id, id),
        (QueryParameter::Task, task),
        (QueryParameter::Kwargs, kwargs),
        (QueryParameter::At, at.map(|at| at.to_string())),
    ];
    let mut values = Vec::new();
    for (parameter, value) in given {
        let takes = query.parameters().any(|own| own == parameter);
        match value {
            Some(value) if takes => values.push((parameter, value)),
            Some(_) => {
                let reason = format!("query `{}` does not have this flag", query.name);
                return Err(Error::Data { what: flag(parameter).to_owned(), reason });
            }
            None if takes && parameter != QueryParameter::Since => {
                let reason = format!("query `{}` needs this flag", query.name);
                return Err(Error::Data { what: flag(parameter).to_owned(), reason });
            }
            None => {}
        }
    }
    Ok(values)
}
