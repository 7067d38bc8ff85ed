//! Finds the host that takes writes, and notices a failover to another server.

use std::io;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::StoreFailedOver;
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::timeout;

use super::fault;
use super::identity::ServerIdentity;
use super::server::PostgresServer;

const MODE: &str = "SELECT current_setting('transaction_read_only')";

/// Every user may call these functions. The control file would show a new timeline only after the
/// next checkpoint.
const IDENTITY: &str = "SELECT system_identifier::text, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()";

/// Connects to one of the hosts, and first to the one that worked last.
///
/// # Errors
/// Returns an error if no host can be used.
pub(super) async fn on_any_host<T, F>(
    server: &PostgresServer,
    mut connect: impl FnMut(PgConnectOptions) -> F,
) -> sqlx::Result<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    let hosts = server.hosts();
    let [_, _, ..] = hosts else { return connect(server.options().clone()).await };
    // A host that answers nothing must leave time for the others.
    let limit = server.connect_timeout() / u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let (mut reasons, first) = (Vec::new(), server.current_host());
    for index in (first..hosts.len()).chain(0..first) {
        let host = &hosts[index];
        let tried = timeout(limit, connect(host.clone())).await;
        let cause = match tried.unwrap_or_else(|_| Err(refused("no answer in time"))) {
            Ok(connected) => {
                server.set_current_host(index);
                return Ok(connected);
            }
            Err(cause) => cause,
        };
        // A wrong password or certificate does not pass by itself.
        if !fault::is_lost(&cause) {
            return Err(cause);
        }
        reasons.push(format!("{}:{}: {cause}", host.get_host(), host.get_port()));
    }
    Err(refused(&reasons.join("; ")))
}

/// Checks a new connection, before its first use.
///
/// # Errors
/// Returns an error if the server takes no writes although the URL asks for one that does, or if a
/// server is known that has replaced it.
pub(super) async fn check_server(server: &PostgresServer, connection: &mut PgConnection) -> sqlx::Result<()> {
    let mode: String = sqlx::raw_sql(MODE).fetch_one(&mut *connection).await?.try_get(0)?;
    if mode == "on" {
        return match server.wants_writes() {
            true => Err(refused("the server is read-only, such as a standby")),
            false => Ok(()),
        };
    }
    server.health().writable();
    let found = match sqlx::raw_sql(IDENTITY).fetch_one(connection).await {
        Ok(row) => ServerIdentity::new(row.try_get(0)?, row.try_get(1)?),
        // Some servers only speak the protocol of Postgres.
        Err(sqlx::Error::Database(_)) => None,
        Err(cause) => return Err(cause),
    };
    match found {
        Some(found) => meet(server, found),
        None => Ok(()),
    }
}

/// Compares the server with the one before.
fn meet(server: &PostgresServer, found: ServerIdentity) -> sqlx::Result<()> {
    let mut known = server.identity();
    let Some(before) = &*known else {
        *known = Some(found);
        return Ok(());
    };
    if found == *before {
        return Ok(());
    }
    // Of several hosts, the old primary may have come back, and may take writes that nobody sees.
    if server.hosts().len() > 1 && found.is_replaced_by(before) {
        let reason = format!("{found} was replaced by {before}; restart this program to use it all the same");
        return Err(refused(&reason));
    }
    StoreFailedOver { store: server.url(), from: &before.to_string(), to: &found.to_string() }.emit();
    *known = Some(found);
    drop(known);
    // Others may still lead to the old server.
    server.doubt_connections();
    Ok(())
}

/// Returns an error after which another attempt may succeed.
fn refused(reason: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionRefused, reason.to_owned()))
}
