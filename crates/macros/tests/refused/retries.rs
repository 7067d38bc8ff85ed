//! What is said of retries has to be possible, and every error in it has to exist.

use celeriac::{TaskResult, task};

#[derive(Debug)]
struct NoError;

#[task(retry_on(Misspelt = "5s", std::io::Eror = never))]
async fn unknown_types() -> TaskResult<()> {
    Ok(())
}

#[task(autoretry_for = [NoError])]
async fn no_error() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on("Gone" = "0 times 5s"))]
async fn no_times() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on("Broken" = always))]
async fn always() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on(5 = never))]
async fn five() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on("Odd"))]
async fn no_answer() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on = "5s", autoretry_for = std::io::Error, dont_autoretry_for = [3])]
async fn forms() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on("Busy" = "fast"))]
async fn fast() -> TaskResult<()> {
    Ok(())
}

#[task(retry_on("Busy" = "three times 5s"))]
async fn three() -> TaskResult<()> {
    Ok(())
}

#[task(autoretry_for = ["Busy"], dont_autoretry_for = ["Busy"])]
async fn twice() -> TaskResult<()> {
    Ok(())
}

#[task(autoretry_for = ["Exception"])]
async fn everything() -> TaskResult<()> {
    Ok(())
}

#[task(retry_backoff = 0, retry_factor = 0.5, default_retry_delay = "soon", retry_within = "0s", retry_jitter = 2)]
async fn values() -> TaskResult<()> {
    Ok(())
}

#[task(retry_backoff = "1s..10m", retry_backoff_max = 60)]
async fn two_ends() -> TaskResult<()> {
    Ok(())
}

#[task(retry_backoff = "1s", default_retry_delay = 3)]
async fn two_waits() -> TaskResult<()> {
    Ok(())
}

#[task(retry_within = "1h", dont_autoretry_for = ["Busy"])]
async fn bounds_of_nothing() -> TaskResult<()> {
    Ok(())
}

fn main() {}
