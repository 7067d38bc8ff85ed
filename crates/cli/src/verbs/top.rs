//! `top`: shows the query `rates` of the cookbook again and again.

use celeriac_config::duration;
use celeriac_results::{CookbookQuery, PostgresBackend, QueryParameter};
use celeriac_telemetry::{ErrorChain, clock};
use tokio::time::{MissedTickBehavior, interval};

use crate::args::TopArgs;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::table::{AnswerRow, table};
use crate::verbs::query;
use crate::waiting;

pub(crate) async fn run(program: &Program, args: TopArgs, json: bool) -> Result<(), Error> {
    let client = waiting::for_client(program).await?;
    let shown = match query::postgres(program, &client) {
        Ok(store) if args.once => rates(store, &args).await.map(|rows| output::answer(json, &rows, || table(&rows))),
        Ok(store) => refresh(store, &args, json).await,
        Err(error) => Err(error),
    };
    client.close().await;
    shown
}

/// Shows the rates until nothing reads them. A database that is away is waited for.
async fn refresh(store: &PostgresBackend, args: &TopArgs, json: bool) -> Result<(), Error> {
    let mut beat = interval(args.every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let is_read = match rates(store, args).await {
            Ok(rows) => output::refresh(json, &rows, || screen(&rows, args)),
            Err(Error::Results(error)) if error.is_retryable() => {
                output::notice(&ErrorChain(&error).to_string());
                true
            }
            Err(error) => return Err(error),
        };
        if !is_read {
            return Ok(());
        }
    }
}

async fn rates(store: &PostgresBackend, args: &TopArgs) -> Result<Vec<AnswerRow>, Error> {
    let Some(rates) = CookbookQuery::named("rates") else { return Ok(Vec::new()) };
    let given = [(QueryParameter::Since, query::interval(args.since))];
    let rows = query::rows(&store.query(rates, &given).await.map_err(Error::Results)?)?;
    let is_wanted = |row: &AnswerRow| args.queue.is_none() || row.column("queue") == args.queue;
    Ok(rows.into_iter().filter(is_wanted).collect())
}

/// Returns the totals, and the rows below them.
fn screen(rows: &[AnswerRow], args: &TopArgs) -> String {
    let sum = |column: &str| rows.iter().filter_map(|row| row.column(column)?.parse::<f64>().ok()).sum::<f64>();
    let (rate, tasks, failed) = (sum("tasks_per_second"), sum("tasks"), sum("failed"));
    let (now, since) = (clock::now(), duration::format(args.since));
    format!("{now:.0}  {rate:.1} tasks/s; in the last {since} {tasks} tasks, {failed} failed\n\n{}", table(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_has_the_totals() {
        let rows: Vec<AnswerRow> = serde_json::from_str(
            r#"[{"queue":"a","tasks_per_second":1.25,"tasks":75,"failed":2},
                {"queue":"b","tasks_per_second":0.5,"tasks":30,"failed":1}]"#,
        )
        .unwrap();
        let minute = std::time::Duration::from_secs(60);
        let args = TopArgs { once: false, every: minute, since: minute, queue: None };
        let text = screen(&rows, &args);
        assert!(
            text.contains("Z  1.8 tasks/s; in the last 1m 105 tasks, 3 failed\n\nqueue  tasks_per_second"),
            "{text}"
        );
    }
}
