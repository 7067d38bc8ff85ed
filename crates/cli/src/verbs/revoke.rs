//! `revoke`: revokes tasks by id.

use serde_json::json;

use crate::args::RevokeArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

pub(crate) async fn run(program: &Program, args: RevokeArgs, json: bool) -> Result<(), Error> {
    let RevokeArgs { ids, terminate, lasting } = args;
    let client = waiting::for_client(program).await?;
    let mut revoke = client.revoke(ids.iter().map(String::as_str));
    if terminate {
        revoke = revoke.terminate();
    }
    if let Some(time) = lasting {
        revoke = revoke.lasting(time);
    }
    let revoked = revoke.await;
    client.close().await;
    revoked?;
    output::answer(json, &json!({ "revoked": ids, "terminate": terminate }), || text(ids.len(), terminate));
    Ok(())
}

fn text(tasks: usize, terminate: bool) -> String {
    let ids = if tasks == 1 { "1 id".to_owned() } else { format!("{tasks} ids") };
    let running = if terminate { "is terminated" } else { "goes on" };
    format!("revoked {ids}: a task that waits or comes later never starts, one that runs {running}")
}
