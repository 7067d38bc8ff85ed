//! `revoke`: revokes tasks by id.

use celeriac_client::Client;
use celeriac_config::duration;
use celeriac_results::OperatorAction;
use serde_json::json;

use crate::args::CommandName;
use crate::args::RevokeArgs;
use crate::audit::audited_in;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

pub(crate) async fn run(program: &Program, args: RevokeArgs, name: &CommandName, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    let lasting = args.lasting.map(duration::format);
    let target = json!({ "ids": args.ids, "terminate": args.terminate, "for": lasting });
    let action = OperatorAction { name: "revoke", target };
    let outcome = audited_in(client.results(), name, action, async {
        match revoke(&client, &args).await {
            Ok(()) => (args.ids.len().try_into().unwrap_or(u64::MAX), Ok(())),
            Err(error) => (0, Err(error)),
        }
    });
    let outcome = outcome.await;
    client.close().await;
    outcome?;
    let RevokeArgs { ids, terminate, .. } = args;
    output::answer(json, &json!({ "revoked": ids, "terminate": terminate }), || text(ids.len(), terminate));
    Ok(())
}

async fn revoke(client: &Client, args: &RevokeArgs) -> Result<(), Error> {
    let mut revoke = client.revoke(args.ids.iter().map(String::as_str));
    if args.terminate {
        revoke = revoke.terminate();
    }
    if let Some(time) = args.lasting {
        revoke = revoke.lasting(time);
    }
    Ok(revoke.await?)
}

fn text(tasks: usize, terminate: bool) -> String {
    let ids = if tasks == 1 { "1 id".to_owned() } else { format!("{tasks} ids") };
    let running = if terminate { "is terminated" } else { "goes on" };
    format!("revoked {ids}: a task that waits or comes later never starts, one that runs {running}")
}
