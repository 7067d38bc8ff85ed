//! Work for a processor, and work that waits.

use std::time::Duration;

use celeriac::prelude::*;
use futures::future::join_all;

const PREFIX: &str = "fleet.work.";

pub(crate) fn tasks() -> Tasks {
    tasks![primes, gather]
}

/// A plain `fn` gets a thread of its own.
#[task(prefix = PREFIX)]
fn primes(limit: usize) -> TaskResult<usize> {
    let mut sieve = vec![true; limit];
    let mut count = 0;
    for number in 2..limit {
        if sieve[number] {
            count += 1;
            (number * number..limit).step_by(number).for_each(|multiple| sieve[multiple] = false);
        }
    }
    Ok(count)
}

#[task(prefix = PREFIX)]
async fn gather(waits: Vec<f64>) -> TaskResult<Vec<f64>> {
    let wait = async |seconds| {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        seconds
    };
    Ok(join_all(waits.into_iter().map(wait)).await)
}
