//! Canvases of typed calls of Python tasks, and Python's calls with any number of arguments.

use celeriac::prelude::*;
use celeriac::protocol::{Map, Value};
use celeriac_tests::{Bed, PythonApp, eventually};
use serde_json::{Value as Json, json};

/// Tasks in Python. The worker in Python sends the later steps, to the queue that they name.
#[task(name = "interop.add")]
fn add(x: i64, y: i64) -> i64;

#[task(prefix = "interop.")]
fn concat(#[rest] parts: Vec<String>) -> String;

#[task(prefix = "interop.")]
fn echo(value: Json, #[rest] more: Map) -> Json;

#[celeriac_tests::test(real)]
async fn typed_steps_and_any_number_of_arguments_run_in_python(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let python = app.worker(2).await;
    let queue = app.queue();
    let program = bed.program([]).set("results.url", "rpc://").set("client.result_timeout", "40s");
    let client = bed.client(program.set("queues", format!("{{{queue}: {{external: true}}}}"))).await;

    let chain = add(1, 2).queue(queue).then(add.with(5).queue(queue)).then(add(10, 20).queue(queue).immutable());
    let chain = chain.then(add.with(3).queue(queue)).submit(&client).await.unwrap();
    assert_eq!(chain.get().await.unwrap(), 33);
    let joined = concat(["a", "b", "c"].map(str::to_owned).to_vec()).queue(queue).submit(&client).await.unwrap();
    assert_eq!(joined.get().await.unwrap(), "abc");
    let more: Map = [("x".to_owned(), Value::Int(3))].into_iter().collect();
    let echoed = echo(json!("said"), more).queue(queue).submit(&client).await.unwrap();
    assert_eq!(echoed.get().await.unwrap(), json!(["said", {"x": 3}]));
    python.stop().await;
}

/// Returns what it was given.
#[task(name = "rust.given")]
async fn given(first: i64, #[rest] args: Vec<Json>, #[rest] kwargs: Map) -> TaskResult<Json> {
    let kwargs: Vec<_> = kwargs.into_iter().map(|(name, value)| (name, value.is_null())).collect();
    Ok(json!([first, args, kwargs]))
}

#[celeriac_tests::test(real)]
async fn python_sends_any_number_of_arguments(bed: Bed) {
    let app = PythonApp::new(&bed).await;
    let program = bed.program(tasks![given]).set("queues", "{interop-rust: {type: classic, max_priority: 9}}");
    bed.start(program.set("default_queue", "interop-rust")).await;
    let peer = bed.peer().await;
    let consumers = async || peer.consumers("interop-rust").await;
    eventually("it consumes", consumers, |consumers| *consumers == Some(1)).await;
    let mut client = app.client().await;

    let cases = [
        (json!([1]), json!({}), json!([1, [], []])),
        (
            json!([1, 2, "three"]),
            json!({"x": 4, "none": null}),
            json!([1, [2, "three"], [["none", true], ["x", false]]]),
        ),
        (json!([]), json!({"first": 7, "x": 1}), json!([7, [], [["x", false]]])),
    ];
    for (args, kwargs, expected) in cases {
        let sent = json!({"command": "send", "task": "rust.given", "args": args, "kwargs": kwargs});
        let id = client.get(sent).await["id"].as_str().unwrap().to_owned();
        assert_eq!(client.result(&id).await["result"], expected);
    }
    client.stop().await;
}
