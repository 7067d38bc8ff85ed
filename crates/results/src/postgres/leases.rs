//! Claims to work that one process does at a time: table `leases`.

use std::time::Duration;

use super::pool::PostgresPool;
use crate::error::Result;

const CLAIM: &str = "INSERT INTO celeriac.leases AS held (name, holder, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE held.holder = excluded.holder OR held.expires_at < clock_timestamp()";

/// Returns `true` if `holder` holds the lease of this name, for this time from now on.
pub(super) async fn claim(connections: &PostgresPool, name: &str, holder: &str, time: Duration) -> Result<bool> {
    let mut connection = connections.lease().await?;
    let query = sqlx::query(CLAIM).bind(name).bind(holder).bind(time.as_secs_f64());
    let answer = connections.within(query.execute(&mut connection.connection)).await;
    let done = connection.conclude(answer).map_err(|cause| connections.error("claiming a lease", cause))?;
    Ok(done.rows_affected() > 0)
}
