//! Options of retries: Celery's names, and a table of errors.

mod policy;

mod table;

use std::time::Duration;

use celeriac_units::{DurationRange, NONE, parse_duration};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, Lit, Result};

use self::policy::{LONGEST, MaxRetries, USUAL, policy};
use self::table::RetryTable;
use crate::mistakes::Mistakes;
use crate::values::duration;
use crate::written::WrittenOption;

/// The options of retries in a declaration.
#[derive(Default)]
pub(crate) struct Retries {
    max_retries: Option<MaxRetries>,
    pace: Option<Pace>,
    factor: Option<f64>,
    cap: Option<Duration>,
    jitter: Option<f64>,
    within: Option<Duration>,
    table: RetryTable,
}

/// The waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// From a first wait to a longest.
    Range(Duration, Duration),
    /// As in Celery: from this wait to `retry_backoff_max`, with full jitter.
    Celery(Duration),
    /// As in Celery: always the same wait, without jitter.
    Always(Duration),
    /// No wait.
    No,
}

impl Retries {
    /// Sets an option. Returns false if it is not about retries.
    pub(crate) fn set(&mut self, key: &str, option: &WrittenOption) -> Result<bool> {
        match key {
            "max_retries" => self.max_retries = Some(option.max_retries()?),
            "retry_backoff" => self.pace = Some(option.retry_backoff()?),
            "default_retry_delay" => self.pace = Some(Pace::Always(option.time("3m", 180)?)),
            "retry_backoff_max" => self.cap = Some(option.time("10m", 600)?),
            "retry_factor" => self.factor = Some(option.retry_factor()?),
            "retry_jitter" => self.jitter = Some(option.retry_jitter()?),
            "retry_within" => self.within = Some(option.retry_within()?),
            "autoretry_for" | "dont_autoretry_for" | "retry_on" => self.table.add(key, option)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Refuses options that have no effect or contradict each other.
    pub(crate) fn check_together(&self, written: &[WrittenOption], mistakes: &mut Mistakes) {
        let wrote = |key: &str| written.iter().find(|option| option.key == key);
        let any = |keys: &[&str]| keys.iter().any(|key| wrote(key).is_some());
        let starts = ["max_retries", "retry_backoff", "default_retry_delay", "autoretry_for"];
        for key in ["retry_jitter", "retry_factor", "dont_autoretry_for"] {
            if let Some(option) = wrote(key).filter(|_| !any(&starts)) {
                let message = format!("`{key}` without retries does nothing: add `max_retries` or `retry_backoff`");
                mistakes.add(&option.key, message);
            }
        }
        if let Some(option) = wrote("retry_within").filter(|_| !any(&starts) && !any(&["retry_on"])) {
            mistakes
                .add(&option.key, "`retry_within` without retries does nothing: add `max_retries` or `retry_backoff`");
        }
        if let (Some(delay), true) = (wrote("default_retry_delay"), any(&["retry_backoff", "retry_factor"])) {
            mistakes.add(&delay.key, "`default_retry_delay` is always the same wait: leave it or the back-off out");
        }
        if let Some(cap) = wrote("retry_backoff_max").filter(|_| !matches!(self.pace, Some(Pace::Celery(_)))) {
            let message = "`retry_backoff_max` goes with `retry_backoff = true` or a number of seconds; the longest wait of \
                           `\"1s..10m\"` is its end";
            mistakes.add(&cap.key, message);
        }
        self.table.check(mistakes);
    }

    /// Returns true if any option of retries is set.
    pub(crate) fn are_declared(&self) -> bool {
        let more = self.jitter.is_some() || self.factor.is_some() || self.cap.is_some() || self.within.is_some();
        self.starts() || more || !self.table.is_empty()
    }

    fn starts(&self) -> bool {
        self.max_retries.is_some() || self.pace.is_some() || self.table.is_selective()
    }

    /// Returns the fields of `TaskOptions`, as code.
    pub(crate) fn fields(&self) -> Vec<TokenStream> {
        let mut fields = Vec::new();
        if self.starts() {
            let policy = self.policy();
            fields.push(quote!(retry: #policy));
        }
        if !self.table.is_empty() {
            let rules = self.table.rules(self.max_retries.unwrap_or(MaxRetries::Times(USUAL)));
            fields.push(quote!(retry_rules: #rules));
        }
        if let Some(within) = self.within {
            let within = duration(within);
            fields.push(quote!(retry_within: ::core::option::Option::Some(#within)));
        }
        fields
    }

    fn policy(&self) -> TokenStream {
        let (first, cap, jitter) = match self.pace.unwrap_or(Pace::Range(Duration::from_secs(1), LONGEST)) {
            Pace::Range(first, last) => (first, last, 0.5),
            Pace::Celery(first) => (first, self.cap.unwrap_or(LONGEST), 1.0),
            Pace::Always(wait) => (wait, wait, 0.0),
            Pace::No => (Duration::ZERO, Duration::ZERO, 0.0),
        };
        let times = self.max_retries.unwrap_or(MaxRetries::Times(USUAL));
        let factor = self.factor.unwrap_or(2.0);
        policy(times, first, cap, factor, self.jitter.unwrap_or(jitter))
    }
}

impl WrittenOption {
    fn max_retries(&self) -> Result<MaxRetries> {
        match (self.literal(), self.value()) {
            (Some(Lit::Int(number)), _) => number.base10_parse().ok().map(MaxRetries::Times),
            (_, Some(Expr::Path(path))) if path.path.is_ident(NONE) => Some(MaxRetries::WithoutEnd),
            _ => None,
        }
        .map_or_else(
            || {
                self.refuse(
                    "`max_retries` is a whole number, such as `max_retries = 5`, or `none` for retries without end",
                )
            },
            Ok,
        )
    }

    fn retry_backoff(&self) -> Result<Pace> {
        match self.literal() {
            Some(Lit::Str(text)) => Ok(match self.parse(&text.value())? {
                DurationRange { cap: Duration::ZERO, .. } => Pace::No,
                DurationRange { first, cap } => Pace::Range(first, cap),
            }),
            Some(Lit::Bool(flag)) if flag.value => Ok(Pace::Celery(Duration::from_secs(1))),
            Some(Lit::Int(seconds)) if seconds.base10_parse::<u32>().is_ok_and(|seconds| seconds > 0) => {
                Ok(Pace::Celery(Duration::from_secs(seconds.base10_parse()?)))
            }
            _ => self.refuse(
                "`retry_backoff` is the first and the longest wait, such as `\"1s..10m\"`, or one wait, such as `\"5s\"`; or \
                 as in Celery `true`, or a number of seconds",
            ),
        }
    }

    /// Reads a time: with its unit, or a number of seconds as in Celery.
    fn time(&self, example: &str, seconds: u32) -> Result<Duration> {
        match self.literal() {
            Some(Lit::Str(text)) => self.parse_with(parse_duration, &text.value()),
            Some(Lit::Int(number)) if number.base10_parse::<u32>().is_ok() => {
                Ok(Duration::from_secs(number.base10_parse()?))
            }
            _ => self.refuse(format_args!(
                "`{0}` is a time, such as `{0} = \"{example}\"`, or as in Celery a number of seconds, `{seconds}`",
                self.key
            )),
        }
    }

    fn retry_factor(&self) -> Result<f64> {
        self.number()
            .filter(|factor| (1.0..=100.0).contains(factor))
            .map_or_else(|| self.refuse("`retry_factor` is a number from 1 to 100, such as `retry_factor = 3`"), Ok)
    }

    fn retry_jitter(&self) -> Result<f64> {
        let share = match self.literal() {
            // As in Celery, `true` is full jitter and `false` is none.
            Some(Lit::Bool(flag)) => Some(if flag.value { 1.0 } else { 0.0 }),
            _ => self.number(),
        };
        share.filter(|share| (0.0..=1.0).contains(share)).map_or_else(
            || {
                self.refuse(
                    "`retry_jitter` is a number from 0.0 to 1.0, such as `retry_jitter = 0.5`; or `true` (1.0), or `false` (0.0)",
                )
            },
            Ok,
        )
    }

    fn number(&self) -> Option<f64> {
        match self.literal() {
            Some(Lit::Float(number)) => number.base10_parse().ok(),
            Some(Lit::Int(number)) => number.base10_parse().ok(),
            _ => None,
        }
    }

    fn retry_within(&self) -> Result<Duration> {
        let within = self.time("1h", 3_600)?;
        if within.is_zero() {
            return self.refuse("`retry_within` of zero would let nothing be tried again: say `max_retries = 0`");
        }
        Ok(within)
    }
}
