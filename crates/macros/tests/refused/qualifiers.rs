#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task]
unsafe fn dangerous() -> TaskResult<()> {
    Ok(())
}

#[task]
extern "C" fn foreign() -> TaskResult<()> {
    Ok(())
}

#[task]
const fn constant() -> TaskResult<()> {
    Ok(())
}

fn main() {}
