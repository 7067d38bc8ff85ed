use celeriac::{TaskResult, task};

const NUMBER: u32 = 7;

#[task(name = NUMBER)]
async fn numbered() -> TaskResult<()> {
    Ok(())
}

#[task(prefix = 5)]
async fn prefixed() -> TaskResult<()> {
    Ok(())
}

#[task(name = missing)]
async fn unknown() -> TaskResult<()> {
    Ok(())
}

fn main() {}
