//! What stands in the parentheses of `#[task(…)]`.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token};

use crate::duration;
use crate::problems::Problems;

const KNOWN: [&str; 10] = [
    "name",
    "queue",
    "priority",
    "max_retries",
    "retry_backoff",
    "retry_jitter",
    "acks",
    "ignore_result",
    "expires",
    "max_deliveries",
];

/// AMQP's limit of a name.
const LONGEST_NAME: usize = 255;

/// What was declared with a task.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) queue: Option<LitStr>,
    pub(crate) priority: Option<u8>,
    pub(crate) max_retries: Option<MaxRetries>,
    /// First and longest wait.
    pub(crate) retry_backoff: Option<(Duration, Duration)>,
    pub(crate) retry_jitter: Option<f64>,
    pub(crate) acks: Option<Acks>,
    pub(crate) ignore_result: Option<bool>,
    pub(crate) expires: Option<Duration>,
    pub(crate) max_deliveries: Option<u32>,
}

/// How often a task is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxRetries {
    Times(u32),
    WithoutEnd,
}

/// When a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acks {
    Late,
    Early,
}

/// One option as it was written; a flag has no value.
struct Written {
    key: Ident,
    value: Option<Expr>,
}

impl Options {
    /// Reads the options, and reports whatever is wrong with them.
    pub(crate) fn parse(tokens: TokenStream, problems: &mut Problems) -> Self {
        let mut written = Vec::new();
        if let Err(error) = (|input: ParseStream| read_all(input, &mut written)).parse2(tokens) {
            problems.take(error);
        }
        let mut options = Self::default();
        let mut seen: Vec<&Ident> = Vec::new();
        for option in &written {
            if seen.contains(&&option.key) {
                problems.add(&option.key, format_args!("`{}` is given twice", option.key));
                continue;
            }
            seen.push(&option.key);
            if let Err(error) = options.set(option) {
                problems.take(error);
            }
        }
        options.check_together(&written, problems);
        options
    }

    fn set(&mut self, option: &Written) -> Result<()> {
        match option.key.to_string().as_str() {
            "name" => self.name = Some(option.name("orders.charge")?),
            "queue" => self.queue = Some(option.name("mail")?),
            "priority" => self.priority = Some(option.priority()?),
            "max_retries" => self.max_retries = Some(option.max_retries()?),
            "retry_backoff" => self.retry_backoff = Some(option.retry_backoff()?),
            "retry_jitter" => self.retry_jitter = Some(option.retry_jitter()?),
            "acks" => self.acks = Some(option.acks()?),
            "ignore_result" => self.ignore_result = Some(option.flag()?),
            "expires" => self.expires = Some(option.expires()?),
            "max_deliveries" => self.max_deliveries = Some(option.max_deliveries()?),
            unknown => return Err(Error::new_spanned(&option.key, unknown_option(unknown))),
        }
        Ok(())
    }

    /// A jitter without retries would silently do nothing.
    fn check_together(&self, written: &[Written], problems: &mut Problems) {
        let wrote = |key: &str| written.iter().find(|option| option.key == key);
        if let Some(jitter) = wrote("retry_jitter")
            && wrote("max_retries").is_none()
            && wrote("retry_backoff").is_none()
        {
            problems
                .add(&jitter.key, "`retry_jitter` without retries does nothing: add `max_retries` or `retry_backoff`");
        }
    }
}

fn read_all(input: ParseStream, written: &mut Vec<Written>) -> Result<()> {
    while !input.is_empty() {
        written.push(read_one(input)?);
        if input.is_empty() {
            break;
        }
        if !input.peek(Token![,]) {
            // What is wrong here is most likely the value: no second complaint that there is none.
            written.pop_if(|last| last.value.is_none());
            return Err(input.error("expected `,` or `=`: options are written `key = value, …`"));
        }
        input.parse::<Token![,]>()?;
    }
    Ok(())
}

fn read_one(input: ParseStream) -> Result<Written> {
    if let Ok(text) = input.fork().parse::<LitStr>() {
        let message = format!("options are written `key = value`: `name = {}`", text.to_token_stream());
        return Err(Error::new(text.span(), message));
    }
    if !input.peek(Ident::peek_any) {
        return Err(input.error(format_args!("expected an option, known are: {}", KNOWN.join(", "))));
    }
    let key = Ident::parse_any(input)?;
    let value = if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        Some(input.parse()?)
    } else {
        None
    };
    Ok(Written { key, value })
}

impl Written {
    fn name(&self, example: &str) -> Result<LitStr> {
        let key = &self.key;
        let Some(Lit::Str(name)) = self.literal() else {
            return self.refuse(format_args!("`{key}` is a string, such as `{key} = \"{example}\"`"));
        };
        match name.value().len() {
            0 => self.refuse(format_args!("`{key}` is empty")),
            1..=LONGEST_NAME => Ok(name.clone()),
            length => self.refuse(format_args!("`{key}` has {length} bytes, AMQP allows {LONGEST_NAME}")),
        }
    }

    fn priority(&self) -> Result<u8> {
        match self.literal() {
            Some(Lit::Int(number)) => number.base10_parse().ok(),
            _ => None,
        }
        .map_or_else(|| self.refuse("`priority` is a whole number from 0 to 255, such as `priority = 5`"), Ok)
    }

    fn max_retries(&self) -> Result<MaxRetries> {
        match (self.literal(), self.value()) {
            (Some(Lit::Int(number)), _) => number.base10_parse().ok().map(MaxRetries::Times),
            (_, Some(Expr::Path(path))) if path.path.is_ident("none") => Some(MaxRetries::WithoutEnd),
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

    fn retry_backoff(&self) -> Result<(Duration, Duration)> {
        let Some(Lit::Str(text)) = self.literal() else {
            return self.refuse(
                "`retry_backoff` is the first and the longest wait, such as `\"1s..10m\"`, or one wait, such as `\"5s\"`",
            );
        };
        duration::parse_range(&text.value()).or_else(|message| self.refuse(message))
    }

    fn retry_jitter(&self) -> Result<f64> {
        match self.literal() {
            Some(Lit::Float(number)) => number.base10_parse::<f64>().ok(),
            Some(Lit::Int(number)) => number.base10_parse::<f64>().ok(),
            _ => None,
        }
        .filter(|share| (0.0..=1.0).contains(share))
        .map_or_else(|| self.refuse("`retry_jitter` is a number from 0.0 to 1.0, such as `retry_jitter = 0.5`"), Ok)
    }

    fn acks(&self) -> Result<Acks> {
        let text = match self.literal() {
            Some(Lit::Str(text)) => text.value(),
            _ => String::new(),
        };
        match text.as_str() {
            "late" => Ok(Acks::Late),
            "early" => Ok(Acks::Early),
            _ => self.refuse("`acks` is `\"late\"` (after the task has ended) or `\"early\"` (before it starts)"),
        }
    }

    fn flag(&self) -> Result<bool> {
        match (self.literal(), self.value()) {
            (Some(Lit::Bool(flag)), _) => Ok(flag.value),
            (_, None) => Ok(true),
            _ => self.refuse(format_args!("`{0}` stands alone, or is `{0} = true` or `{0} = false`", self.key)),
        }
    }

    fn expires(&self) -> Result<Duration> {
        let Some(Lit::Str(text)) = self.literal() else {
            return self.refuse("`expires` is a duration, such as `expires = \"1h\"`");
        };
        let expires = duration::parse(&text.value()).or_else(|message| self.refuse(message))?;
        if expires.is_zero() {
            return self.refuse("`expires` of zero would let no message start");
        }
        Ok(expires)
    }

    fn max_deliveries(&self) -> Result<u32> {
        match self.literal() {
            Some(Lit::Int(number)) => number.base10_parse().ok().filter(|most| *most >= 2),
            _ => None,
        }
        .map_or_else(|| self.refuse("`max_deliveries` is a whole number from 2, such as `max_deliveries = 3`"), Ok)
    }

    fn value(&self) -> Option<&Expr> {
        self.value.as_ref().map(without_group)
    }

    fn literal(&self) -> Option<&Lit> {
        match self.value() {
            Some(Expr::Lit(ExprLit { lit, .. })) => Some(lit),
            _ => None,
        }
    }

    fn refuse<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(match &self.value {
            Some(value) => Error::new_spanned(value, message),
            None => Error::new_spanned(&self.key, message),
        })
    }
}

/// What a `macro_rules!` passes on is wrapped in an invisible group.
pub(crate) fn without_group(expr: &Expr) -> &Expr {
    match expr {
        Expr::Group(group) => without_group(&group.expr),
        other => other,
    }
}

fn unknown_option(unknown: &str) -> String {
    const ALIKE: f64 = 0.75;
    let nearest = KNOWN
        .into_iter()
        .map(|known| (strsim::jaro_winkler(unknown, known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let meant = nearest.map_or(String::new(), |(_, known)| format!(", did you mean `{known}`?"));
    format!("unknown option `{unknown}`{meant}\nknown are: {}", KNOWN.join(", "))
}
