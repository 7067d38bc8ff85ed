//! `redact`: arguments that a task needs, and that people do not see.

use celeriac::prelude::*;
use celeriac::protocol::Body;
use celeriac::sqlx::{self, AssertSqlSafe};
use celeriac::{CallOptions, DynamicCall};
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::command_line::run;

const CARD: &str = "4111-1111-1111-1111";
const MAIL: &str = "ada@\"example\".org";

#[derive(Debug, Serialize, Deserialize)]
struct Customer {
    name: String,
    email: String,
}

/// Fails at first with an error that repeats what it was given, and is tried again.
#[task(
    name = "t.charge",
    redact = ["card", "customer.email"],
    max_retries = 1,
    retry_backoff = "10ms"
)]
async fn charge(ctx: TaskContext, order: i64, card: String, customer: Customer) -> TaskResult<String> {
    if ctx.attempt() == 1 || order == 0 {
        return Err(TaskError::new(format!("{card} of {} {:?} declined", customer.name, customer.email)));
    }
    Ok(format!("{} {}", card.len(), customer.email.len()))
}

/// Has an argument of another type than its callers give.
#[task(name = "t.strict", redact = ["pin"])]
async fn strict(pin: u64) -> TaskResult<u64> {
    Ok(pin)
}

fn customer() -> Customer {
    Customer { name: "Ada".to_owned(), email: MAIL.to_owned() }
}

/// Asserts that nothing in the database, except messages, has the values.
async fn assert_nothing_stored(bed: &Bed, values: &[&str]) {
    let mut database = bed.database().await;
    for table in ["tasks", "attempts", "attempt_history", "failed_tasks", "failure_groups"] {
        let rows = format!("SELECT (to_jsonb(rows) - 'next_body')::text FROM celeriac.{table} AS rows");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut database).await.unwrap();
        for row in &rows {
            assert!(!values.iter().any(|value| row.contains(value)), "{table}: {row}");
        }
    }
}

#[celeriac_tests::test(real)]
async fn a_task_gets_its_arguments_and_neither_row_nor_error_shows_them(bed: Bed) {
    let program = bed.program(tasks![charge]).set("client.headers", "full").set("results.track", "started");
    let running = bed.start(program).await;
    let handle = charge(17, CARD.to_owned(), customer()).submit(&running.client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), "19 17", "the task has them, at its second attempt too");
    let row = handle.record().await.unwrap().unwrap();
    let args: serde_json::Value = serde_json::from_str(row.args.as_deref().unwrap()).unwrap();
    assert_eq!(args, json!([17, "[redacted]", {"name": "Ada", "email": "[redacted]"}]));
    let attempts = handle.attempts().await.unwrap();
    let error = &attempts[0].failure.as_ref().unwrap().message;
    assert_eq!(error, "[redacted] of Ada \"[redacted]\" declined");
    // By name, too.
    let call = DynamicCall {
        task: "t.charge".to_owned(),
        body: Body {
            kwargs: [
                ("order".to_owned(), 18_i64.into()),
                ("card".to_owned(), CARD.into()),
                (
                    "customer".to_owned(),
                    celeriac::protocol::Value::Map(
                        [("name".to_owned(), "Ada".into()), ("email".to_owned(), MAIL.into())].into(),
                    ),
                ),
            ]
            .into(),
            ..Body::default()
        },
        options: CallOptions::default(),
    };
    let named = running.client.submit_dynamic(call).await.unwrap();
    assert_eq!(named.get().await.unwrap(), json!("19 17"));
    let kwargs: serde_json::Value =
        serde_json::from_str(named.record().await.unwrap().unwrap().kwargs.as_deref().unwrap()).unwrap();
    assert_eq!(kwargs, json!({"order": 18, "card": "[redacted]", "customer": {"name": "Ada", "email": "[redacted]"}}));
    assert_nothing_stored(&bed, &[CARD, "ada@"]).await;
}

#[celeriac_tests::test(real)]
async fn a_dead_letter_keeps_the_arguments_and_no_command_shows_them(bed: Bed) {
    let running = bed.start(bed.program(tasks![charge, strict]).set("client.headers", "full")).await;
    let client = &running.client;
    let exhausted = charge(0, CARD.to_owned(), customer()).task_id("exhausted").submit(client).await.unwrap();
    exhausted.wait().await.unwrap();
    let mut wrong = DynamicCall {
        task: "t.strict".to_owned(),
        body: Body { args: vec![CARD.into()], ..Body::default() },
        options: CallOptions::default(),
    };
    wrong.options.id = Some("wrong".to_owned());
    let failure = client.submit_dynamic(wrong).await.unwrap().wait().await.unwrap().failure.unwrap();
    assert!(failure.message.starts_with("argument `pin`:") && failure.message.contains("[redacted]"), "{failure}");
    assert_nothing_stored(&bed, &[CARD, "ada@"]).await;

    // The test's program has neither task: the configuration says what is hidden.
    let options = r#"[{"task": "t.*", "redact": ["*"]}]"#;
    let variables = bed.environment_with(&[("CELERIAC__TASK_OPTIONS", options.to_owned())]);
    for id in ["exhausted", "wrong"] {
        for json in [&["dead", "show", id][..], &["dead", "show", id, "--json"]] {
            let (code, said) = run(json, &variables).await;
            assert_eq!(code, 0, "{said}");
            assert!(said.contains("[redacted]") && !said.contains(CARD) && !said.contains("ada@"), "{said}");
        }
    }
    let (_, said) = run(&["dead", "list"], &bed.environment()).await;
    assert!(said.contains("exhausted") && !said.contains(CARD), "{said}");
    let (code, said) = run(&["retry", "exhausted", "--yes"], &bed.environment()).await;
    assert!(code != 0 && said.contains("holds redacted arguments"), "{said}");
    // The message has them.
    let (code, said) = run(&["dead", "replay", "--id", "exhausted", "--yes"], &bed.environment()).await;
    assert_eq!(code, 0, "{said}");
    let replayed = async || exhausted.record().await.unwrap().unwrap();
    let row = eventually("it has failed again", replayed, |row| row.replays == 1 && row.state.is_final()).await;
    assert_eq!(row.failure.unwrap().message, "[redacted] of Ada \"[redacted]\" declined");
}
