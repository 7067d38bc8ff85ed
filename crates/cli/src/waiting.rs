//! Notices of verbs that wait for a server.
//!
//! A verb waits for a server that is away until a deadline of the configuration. A person reads
//! after a moment what the verb waits for.

use std::pin::pin;
use std::time::Duration;

use celeriac_broker::{BrokerHealth, BrokerOptions};
use celeriac_client::Client;
use celeriac_config::duration;
use celeriac_results::{LastError, ResultsOptions};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::error::Error;
use crate::output;
use crate::program::Program;

/// Time without an answer after which the notice is printed.
const SILENCE: Duration = Duration::from_millis(1500);

/// Does `work`, which needs the broker. Prints a notice once if the broker is away meanwhile.
pub(crate) async fn for_broker<T>(
    options: &BrokerOptions,
    health: watch::Receiver<BrokerHealth>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let found = tokio::select! {
        biased;
        done = &mut work => return done,
        found = absence(health) => found,
    };
    output::notice(&broker_notice(options, &found));
    work.await
}

/// Connects a client. Prints a notice if the database is away.
pub(crate) async fn for_client(program: &Program) -> Result<Client, Error> {
    let last_error = LastError::default();
    for_database(&program.results, &last_error, (program.connect_client)(last_error.clone())).await
}

/// Does `work`, which connects to the database. Prints a notice if the database is away.
pub(crate) async fn for_database<T>(
    options: &ResultsOptions,
    last_error: &LastError,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(SILENCE, &mut work).await {
        return done;
    }
    if let Some(server) = options.server() {
        let (reason, limit) = (last_error.get(), options.connect_timeout);
        output::notice(&notice("the database", &server, reason.as_deref(), ("results.connect_timeout", limit)));
    }
    work.await
}

/// Returns the health of a broker that has been unusable for a moment.
async fn absence(mut health: watch::Receiver<BrokerHealth>) -> BrokerHealth {
    loop {
        let is_up = |health: &BrokerHealth| *health == BrokerHealth::Connected;
        if health.wait_for(|health| !is_up(health)).await.is_err() {
            // The broker ends together with the work.
            std::future::pending::<()>().await;
        }
        if timeout(SILENCE, health.wait_for(is_up)).await.is_err() {
            return health.borrow().clone();
        }
    }
}

fn broker_notice(options: &BrokerOptions, found: &BrokerHealth) -> String {
    let nodes = celeriac_broker::nodes(options).unwrap_or_default();
    let nodes: Vec<_> = nodes.iter().map(|node| format!("{}:{}", node.host, node.port)).collect();
    let limit = ("broker.publish_timeout", options.publish_timeout);
    match found {
        BrokerHealth::Blocked { reason } => notice("the blocked broker", &nodes.join(", "), Some(reason), limit),
        BrokerHealth::Disconnected { reason } => notice("the broker", &nodes.join(", "), reason.as_deref(), limit),
        BrokerHealth::Connected => notice("the broker", &nodes.join(", "), None, limit),
    }
}

/// Returns the line of a notice. `limit` is the deadline, with its key.
fn notice(what: &str, server: &str, reason: Option<&str>, limit: (&str, Duration)) -> String {
    let reason = output::one_line(reason.unwrap_or("no answer so far"));
    let (key, limit) = (limit.0, duration::format(limit.1));
    format!("waiting for {what} at {server}, for at most {limit} ({key}): {reason}")
}

#[cfg(test)]
mod tests {
    use celeriac_config::Secret;

    use super::*;

    #[test]
    fn a_notice_names_server_deadline_and_error() {
        let options = BrokerOptions { url: Secret::new("amqp://u:secret@a,amqps://b/v"), ..BrokerOptions::default() };
        let limit = "for at most 30s (broker.publish_timeout)";
        let disconnected = |reason: Option<&str>| BrokerHealth::Disconnected { reason: reason.map(str::to_owned) };
        for (found, expected) in [
            (disconnected(None), format!("waiting for the broker at a:5672, b:5671, {limit}: no answer so far")),
            (disconnected(Some("refused")), format!("waiting for the broker at a:5672, b:5671, {limit}: refused")),
            (
                BrokerHealth::Blocked { reason: "low on memory".to_owned() },
                format!("waiting for the blocked broker at a:5672, b:5671, {limit}: low on memory"),
            ),
        ] {
            assert_eq!(broker_notice(&options, &found), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_answers_within_a_moment_is_not_absent() {
        let health = watch::Sender::new(BrokerHealth::Disconnected { reason: None });
        let mut absent = pin!(absence(health.subscribe()));
        assert!(timeout(SILENCE / 2, &mut absent).await.is_err());
        health.send_replace(BrokerHealth::Connected);
        assert!(timeout(SILENCE * 10, &mut absent).await.is_err());
        let lost = BrokerHealth::Disconnected { reason: Some("reset".to_owned()) };
        health.send_replace(lost.clone());
        assert_eq!(timeout(SILENCE * 2, absent).await, Ok(lost));
    }
}
