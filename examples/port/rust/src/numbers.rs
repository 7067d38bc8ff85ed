//! Arithmetic.

use celeriac::prelude::*;

const PREFIX: &str = "fleet.numbers.";

pub(crate) fn tasks() -> Tasks {
    tasks![add, divide, quotient, parse]
}

#[task(prefix = PREFIX)]
pub(crate) async fn add(x: i128, y: i128) -> TaskResult<i128> {
    x.checked_add(y).ok_or_else(|| TaskError::of_kind("OverflowError", "the sum is too large"))
}

#[task(prefix = PREFIX)]
async fn divide(x: f64, y: f64) -> TaskResult<f64> {
    if y == 0.0 {
        return Err(TaskError::of_kind("ZeroDivisionError", "division by zero"));
    }
    Ok(x / y)
}

/// Rounds down, as Python's `divmod`.
#[task(prefix = PREFIX)]
async fn quotient(x: i64, y: i64) -> TaskResult<(i64, i64)> {
    let Some(quotient) = x.checked_div(y) else {
        return Err(TaskError::of_kind("ZeroDivisionError", "integer division or modulo by zero"));
    };
    let rest = x - quotient * y;
    Ok(if rest != 0 && (rest < 0) != (y < 0) { (quotient - 1, rest + y) } else { (quotient, rest) })
}

#[task(prefix = PREFIX)]
async fn parse(text: String) -> TaskResult<i64> {
    let refused = |_| TaskError::of_kind("ValueError", format!("invalid literal for int() with base 10: '{text}'"));
    text.trim().parse().map_err(refused)
}
