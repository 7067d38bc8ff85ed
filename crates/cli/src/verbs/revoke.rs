//! `revoke`: revokes tasks by id.

use serde_json::json;

use crate::args::RevokeArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;

pub(crate) async fn run(program: &Program, args: RevokeArgs, json: bool) -> Result<(), Error> {
    let RevokeArgs { ids, terminate, lasting } = args;
    let client = program.client().await?;
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
    let tasks = if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") };
    let running = if terminate { "running ones are terminated" } else { "running ones go on" };
    format!("revoked {tasks}: waiting ones never start, {running}")
}
