//! A task raises no lint of its own, however strict the crate around it is.

#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![deny(clippy::all, clippy::pedantic, clippy::allow_attributes)]

/// Tasks.
pub mod orders {
    use celeriac::{TaskContext, TaskResult, task};

    /// Charges.
    #[task(
        name = "orders.charge",
        queue = "orders",
        priority = 3,
        max_retries = 5,
        retry_backoff = "1s..10m",
        retry_jitter = 0,
        acks = "early",
        ignore_result,
        expires = "1h"
    )]
    pub async fn charge(ctx: TaskContext, order: String, mut cents: i64, note: Option<String>) -> TaskResult<i64> {
        cents += i64::from(ctx.attempt());
        Ok(cents + i64::from(order.len() > 5 && note.is_some()))
    }

    /// Makes a report.
    #[task]
    pub fn report(year: String) -> TaskResult<usize> {
        Ok(year.len())
    }
}

mod private {
    use celeriac::{TaskResult, task};

    #[task]
    pub(crate) async fn never_called_only_run() -> TaskResult<()> {
        Ok(())
    }

    #[task]
    pub(crate) async fn never_run_only_called() -> TaskResult<()> {
        Ok(())
    }
}

fn main() {
    let _ = private::never_run_only_called();
    let _ = celeriac::tasks![orders::charge, orders::report, private::never_called_only_run];
}
