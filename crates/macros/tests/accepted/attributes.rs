//! Other attributes of a function find their place.

use celeriac::{Call, TaskResult, task, tasks};

#[task]
#[tracing::instrument(level = "debug", skip_all, fields(cents))]
async fn charge(cents: i64) -> TaskResult<i64> {
    Ok(cents)
}

#[task]
#[deprecated = "use charge"]
#[inline(never)]
#[must_use]
fn debit(#[allow(unused)] cents: i64) -> TaskResult<()> {
    Ok(())
}

#[task]
#[cfg(any())]
async fn elsewhere(cents: NoSuchType) -> TaskResult<()> {
    Ok(())
}

#[cfg(any())]
#[task]
async fn nowhere(cents: NoSuchType) -> TaskResult<()> {
    Ok(())
}

fn main() {
    let _: Call<charge> = charge(5);
    #[expect(deprecated, reason = "callers are told")]
    let _ = debit(5);
    assert_eq!(tasks![charge, debit, #[cfg(any())] elsewhere].len(), 2);
}
