//! Decimals, and a table that the worker loads once.

use std::collections::HashMap;

use celeriac::prelude::*;
use celeriac::protocol::{KombuValue, Value};
use serde::{Deserialize, Serialize};

use crate::errors::insufficient_funds;

const PREFIX: &str = "fleet.money.";

pub(crate) fn tasks() -> Tasks {
    tasks![gross, split, convert, charge]
}

/// An amount in cents. Python's side is a `Decimal`: a `Value` keeps that type in results.
#[derive(Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "Value")]
struct Money(i64);

impl TryFrom<String> for Money {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (whole, cents) = text.split_once('.').unwrap_or((&text, ""));
        let number = format!("{whole}{cents:0<2}").parse().map_err(|error| format!("`{text}`: {error}"))?;
        if cents.len() > 2 { Err(format!("`{text}` is no amount in cents")) } else { Ok(Self(number)) }
    }
}

impl From<Money> for Value {
    fn from(Money(cents): Money) -> Self {
        let sign = if cents < 0 { "-" } else { "" };
        let cents = cents.unsigned_abs();
        KombuValue::Decimal(format!("{sign}{}.{:02}", cents / 100, cents % 100)).into()
    }
}

impl Money {
    /// Returns this amount times `numerator / denominator`, with halves rounded up.
    fn times(self, numerator: i64, denominator: i64) -> Self {
        Self((self.0 * numerator + denominator / 2).div_euclid(denominator))
    }
}

/// Hundredths of a currency for a euro.
pub(crate) struct Rates(HashMap<&'static str, i64>);

impl Rates {
    /// Loads the table.
    pub(crate) fn load() -> Self {
        Self([("EUR", 100), ("USD", 125), ("JPY", 16_000)].into())
    }
}

#[task(prefix = PREFIX)]
async fn gross(net: Money, percent: i64) -> TaskResult<Money> {
    Ok(net.times(100 + percent, 100))
}

#[task(prefix = PREFIX)]
async fn split(total: Money, people: i64) -> TaskResult<Vec<Money>> {
    let share = |person| Money(total.0 / people + i64::from(person < total.0 % people));
    Ok((0..people).map(share).collect())
}

#[task(prefix = PREFIX)]
async fn convert(ctx: TaskContext, euros: Money, currency: String) -> TaskResult<Money> {
    let rates = ctx.state::<Rates>()?;
    let rate = rates.0.get(currency.as_str()).ok_or_else(|| TaskError::of_kind("KeyError", &currency))?;
    Ok(euros.times(*rate, 100))
}

/// Late acknowledgement is the default.
#[task(prefix = PREFIX)]
async fn charge(account: String, amount: Money, balance: Money) -> TaskResult<Money> {
    if amount > balance {
        return Err(insufficient_funds(account, Money(amount.0 - balance.0)));
    }
    Ok(Money(balance.0 - amount.0))
}
