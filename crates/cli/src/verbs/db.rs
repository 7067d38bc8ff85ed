//! `db`: the size of the result store, and the deletion of old tasks.

use celeriac_client::Client;
use celeriac_results::{CookbookQuery, OperatorAction, PostgresBackend, PruneFilter};
use serde::Serialize;
use serde_json::json;

use crate::args::{CommandName, DbVerb, PruneArgs};
use crate::audit::audited_in;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::table::table;
use crate::verbs::query::{postgres, rows};
use crate::waiting;

/// Rows deleted in one statement. More would delay writers.
const PIECE: u32 = 1_000;

/// The tasks that match, and those that were deleted.
#[derive(Debug, Serialize)]
struct PruneOutcome {
    matching: u64,
    deleted: u64,
}

pub(crate) async fn run(program: &Program, verb: DbVerb, name: &CommandName, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    let done = match (postgres(program, &client), verb) {
        (Ok(store), DbVerb::Size) => size(store, json).await,
        (Ok(store), DbVerb::Prune(args)) => Box::pin(prune(&client, store, args, name, json)).await,
        (Err(error), _) => Err(error),
    };
    client.close().await;
    done
}

/// Shows the query `size` of the cookbook.
async fn size(store: &PostgresBackend, json: bool) -> Result<(), Error> {
    let Some(query) = CookbookQuery::named("size") else { return Ok(()) };
    let found = rows(&store.query(query, &[]).await.map_err(Error::Results)?)?;
    output::answer(json, &found, || table(&found));
    Ok(())
}

async fn prune(
    client: &Client,
    store: &PostgresBackend,
    args: PruneArgs,
    name: &CommandName,
    json: bool,
) -> Result<(), Error> {
    let filter = PruneFilter { older_than: args.older_than, states: args.states, task: args.task };
    let found = store.count_old(&filter).await.map_err(Error::Results)?;
    let matching = args.limit.map_or(found, |limit| limit.min(found));
    if args.dry_run || matching == 0 {
        output::answer(json, &PruneOutcome { matching, deleted: 0 }, || format!("would delete {}", tasks(matching)));
        return Ok(());
    }
    if !args.yes {
        output::confirm(&format!("delete {}?", tasks(matching)))?;
    }
    let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
    let older_than = celeriac_config::duration::format(filter.older_than);
    let target = json!({ "older_than": older_than, "states": states, "task": filter.task, "limit": args.limit });
    let work = async {
        let mut deleted = 0;
        let outcome = delete(store, &filter, matching, &mut deleted).await;
        (deleted, outcome.map(|()| deleted))
    };
    let action = OperatorAction { name: "db prune", target };
    let deleted = Box::pin(audited_in(client.results(), name, action, work)).await?;
    output::answer(json, &PruneOutcome { matching, deleted }, || format!("deleted {}", tasks(deleted)));
    Ok(())
}

/// Deletes piece by piece, up to this number.
async fn delete(store: &PostgresBackend, filter: &PruneFilter, most: u64, deleted: &mut u64) -> Result<(), Error> {
    while *deleted < most {
        let piece = u32::try_from(most - *deleted).unwrap_or(PIECE).min(PIECE);
        match store.prune(filter, piece).await.map_err(Error::Results)? {
            0 => break,
            gone => *deleted += gone,
        }
    }
    Ok(())
}

fn tasks(count: u64) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}
