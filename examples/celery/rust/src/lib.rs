//! The Rust half of the shop, which charges customers.

use celeriac::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The result of a charge.
#[derive(Debug, Serialize, Deserialize)]
pub struct Charged {
    /// The order.
    pub order: Uuid,
    /// The amount charged, in cents.
    pub cents: i64,
}

/// Takes money for an order, up to a limit.
#[task(name = "billing.charge")]
pub async fn charge(ctx: TaskContext, order: Uuid, cents: i64) -> TaskResult<Charged> {
    tracing::info!(attempt = ctx.attempt(), %order, cents, "charging");
    if cents > 1_000_000 {
        return Err(TaskError::of_kind("ValueError", "over the limit of 10000.00"));
    }
    Ok(Charged { order, cents })
}

/// Writes a receipt.
#[task(name = "billing.receipt")]
pub async fn receipt(cents: i64, customer: String) -> TaskResult<String> {
    Ok(format!("{customer} paid {}.{:02}", cents / 100, cents % 100))
}

/// Adds up an order.
#[task(name = "billing.total")]
pub fn total(cents: Vec<i64>) -> TaskResult<i64> {
    Ok(cents.iter().sum())
}

/// Logs the id of a failed task. An errback.
#[task(name = "billing.alarm")]
pub async fn alarm(failed: String, about: String) -> TaskResult<()> {
    tracing::warn!(failed, "alarm: {about}");
    Ok(())
}
