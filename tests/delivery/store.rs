//! Connections of the result store to its database.

use celeriac_config::Secret;
use celeriac_results::ResultsOptions;
use celeriac_tests::Bed;
use sqlx::{Connection, PgConnection};

/// Number of sessions of a store, and number of unencrypted ones.
const SESSIONS: &str =
    "SELECT count(*), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
    WHERE datname = current_database() AND application_name = 'celeriac'";

#[celeriac_tests::test(real)]
async fn the_store_speaks_tls_over_a_connection_that_does_not_wait_to_fill_packets(bed: Bed) {
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let store = celeriac_results::connect(&options).await.unwrap().unwrap();
    let mut connection = PgConnection::connect(&bed.database_url()).await.unwrap();
    let (sessions, plain): (i64, i64) = sqlx::query_as(SESSIONS).fetch_one(&mut connection).await.unwrap();
    assert!(sessions > 0 && plain == 0, "{plain} of {sessions} sessions are not encrypted");
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let bridge = format!("@celeriac-{}-", std::process::id());
    assert!(sockets.contains(&bridge), "the driver has opened the connection by itself");
    connection.close().await.unwrap();
    store.close().await;
}
