//! `call`: sends a task by its name.

use celeriac_client::call::{CallOptions, Expiry, When};
use celeriac_client::{Client, DynamicCall};
use celeriac_protocol::{Body, Codec, Map, Value};
use celeriac_topology::{CallRoute, DIRECT_EXCHANGE};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::CallArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::result::StoredResult;

#[derive(Serialize)]
struct SentTask<'a> {
    id: &'a str,
}

pub(crate) async fn run(program: &Program, args: CallArgs, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    if let Some(misspelt) = program.registry.misspelt(&args.task) {
        // No error, because another program may have a task of this name.
        output::notice(&format!("warning: {misspelt}"));
    }
    let wait = args.wait;
    let request = request(args)?;
    let client = program.client().await?;
    let outcome = send(&client, request, wait, json).await;
    client.close().await;
    outcome
}

async fn send(
    client: &Client,
    request: DynamicCall,
    wait: Option<std::time::Duration>,
    json: bool,
) -> Result<(), Error> {
    let handle = client.submit_dynamic(request).await?;
    match wait {
        None => {
            output::answer(json, &SentTask { id: handle.id() }, || handle.id().to_owned());
            Ok(())
        }
        Some(wait) => StoredResult::from(handle.wait_timeout(wait).await?).print(json),
    }
}

fn request(args: CallArgs) -> Result<DynamicCall, Error> {
    let (positional, named) = arguments(&args.args, &args.kwargs)?;
    let when = match (args.countdown, args.eta) {
        (Some(wait), _) => When::After(wait),
        (None, Some(time)) => When::At(time),
        (None, None) => When::Now,
    };
    let codec = args.serializer.map(|name| if name == "msgpack" { Codec::Msgpack } else { Codec::Json });
    Ok(DynamicCall {
        task: args.task,
        body: Body { args: positional, kwargs: named, embed: Value::Null },
        options: CallOptions {
            id: args.id,
            when,
            expires: args.expires.map(Expiry::After),
            route: CallRoute {
                queue: args.queue,
                exchange: args.exchange.or_else(|| args.worker.as_ref().map(|_| DIRECT_EXCHANGE.to_owned())),
                routing_key: args.routing_key.or(args.worker),
                priority: args.priority,
                codec,
            },
            ..CallOptions::default()
        },
    })
}

/// Reads the arguments of a call from its flags.
pub(crate) fn arguments(args: &str, kwargs: &str) -> Result<(Vec<Value>, Map), Error> {
    Ok((read("--args", "a JSON list", args)?, read("--kwargs", "a JSON object", kwargs)?))
}

fn read<T: DeserializeOwned>(what: &str, expected: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text)
        .map_err(|error| Error::Data { what: what.to_owned(), reason: format!("expected {expected}: {error}") })
}
