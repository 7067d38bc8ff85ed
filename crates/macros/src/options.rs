//! What stands in the parentheses of `#[task(…)]`.

use std::str::FromStr;
use std::time::Duration;

use celeriac_units::{AckMode, NONE, RateLimit, TimeLimit, parse_duration};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::token::Paren;
use syn::{Error, Expr, ExprLit, Ident, ItemFn, Lit, LitStr, Result, Token};

use crate::problems::Problems;
use crate::retries::Retries;

const KNOWN: [&str; 22] = [
    "name",
    "queue",
    "priority",
    "max_retries",
    "retry_backoff",
    "retry_backoff_max",
    "retry_factor",
    "retry_jitter",
    "default_retry_delay",
    "retry_within",
    "autoretry_for",
    "dont_autoretry_for",
    "retry_on",
    "hooks",
    "acks",
    "ignore_result",
    "expires",
    "transactional",
    "time_limit",
    "soft_time_limit",
    "rate_limit",
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
    pub(crate) retries: Retries,
    /// The outermost first.
    pub(crate) hooks: Vec<Expr>,
    pub(crate) acks: Option<AckMode>,
    pub(crate) ignore_result: Option<bool>,
    pub(crate) expires: Option<Duration>,
    /// Where that is written.
    pub(crate) transactional: Option<Ident>,
    pub(crate) time_limit: Option<TimeLimit>,
    pub(crate) soft_time_limit: Option<TimeLimit>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) max_deliveries: Option<u32>,
}

/// One option as it was written; a flag has no value.
pub(crate) struct Written {
    pub(crate) key: Ident,
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
        options.retries.check_together(&written, problems);
        options.check_limits(&written, problems);
        options
    }

    fn set(&mut self, option: &Written) -> Result<()> {
        match option.key.to_string().as_str() {
            "name" => self.name = Some(option.name("orders.charge")?),
            "queue" => self.queue = Some(option.name("mail")?),
            "priority" => self.priority = Some(option.priority()?),
            "acks" => self.acks = Some(option.acks()?),
            "ignore_result" => self.ignore_result = Some(option.flag()?),
            "expires" => self.expires = Some(option.expires()?),
            "transactional" => self.transactional = option.flag()?.then(|| option.key.clone()),
            "time_limit" => self.time_limit = Some(option.limit("30s")?),
            "soft_time_limit" => self.soft_time_limit = Some(option.limit("25s")?),
            "rate_limit" => self.rate_limit = Some(option.rate()?),
            "max_deliveries" => self.max_deliveries = Some(option.max_deliveries()?),
            "hooks" => self.hooks = option.hooks()?,
            key if self.retries.set(key, option)? => {}
            unknown => return Err(Error::new_spanned(&option.key, unknown_option(unknown))),
        }
        Ok(())
    }

    /// A soft limit that the hard one comes before would silently do nothing.
    fn check_limits(&self, written: &[Written], problems: &mut Problems) {
        let wrote = |key: &str| written.iter().find(|option| option.key == key);
        if let (Some(TimeLimit::After(hard)), Some(TimeLimit::After(soft))) = (self.time_limit, self.soft_time_limit)
            && soft >= hard
            && let Some(written) = wrote("soft_time_limit")
        {
            problems.add(&written.value, "`soft_time_limit` is never reached: it has to be shorter than `time_limit`");
        }
    }

    /// A thread cannot be taken away from what runs on it.
    pub(crate) fn check_runner(&self, function: &ItemFn, problems: &mut Problems) {
        if function.sig.asyncness.is_none() && matches!(self.time_limit, Some(TimeLimit::After(_))) {
            let message = "`time_limit` cannot be kept: a plain `fn` runs on a thread of its own, which nobody can end; \
                           make it an `async fn`, or say `soft_time_limit` and look at `ctx.is_cancelled()`";
            problems.add(&function.sig.ident, message);
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
    } else if input.peek(Paren) {
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

    fn acks(&self) -> Result<AckMode> {
        match self.literal() {
            Some(Lit::Str(text)) => self.parse(&text.value()),
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
        let expires = self.parse_with(parse_duration, &text.value())?;
        if expires.is_zero() {
            return self.refuse("`expires` of zero would let no message start");
        }
        Ok(expires)
    }

    fn limit(&self, example: &str) -> Result<TimeLimit> {
        match (self.literal(), self.value()) {
            (Some(Lit::Str(text)), _) => self.parse(&text.value()),
            (_, Some(Expr::Path(path))) if path.path.is_ident(NONE) => Ok(TimeLimit::Never),
            _ => self.refuse(format_args!(
                "`{0}` is a duration, such as `{0} = \"{example}\"`, or `none` for no limit, whatever the worker's is",
                self.key
            )),
        }
    }

    fn hooks(&self) -> Result<Vec<Expr>> {
        match self.value() {
            Some(Expr::Array(list)) => Ok(list.elems.iter().cloned().collect()),
            Some(Expr::Lit(_)) | None => {
                self.refuse("`hooks` is a value that implements `Hooks`, such as `hooks = Audit`, or a list of them")
            }
            Some(one) => Ok(vec![one.clone()]),
        }
    }

    fn rate(&self) -> Result<RateLimit> {
        let text = match self.literal() {
            Some(Lit::Str(text)) => text.value(),
            Some(Lit::Int(number)) => number.base10_digits().to_owned(),
            Some(Lit::Float(number)) => number.base10_digits().to_owned(),
            _ => String::new(),
        };
        match self.parse_with(RateLimit::parse_optional, &text)? {
            Some(rate) => Ok(rate),
            None => self.refuse("`rate_limit` of zero is no limit, as with Celery: leave it out"),
        }
    }

    /// Reads text in the form of its type.
    pub(crate) fn parse<T: FromStr<Err = celeriac_units::Error>>(&self, text: &str) -> Result<T> {
        self.parse_with(str::parse, text)
    }

    /// Reads text, and says which option it is of where it cannot be read.
    pub(crate) fn parse_with<T>(
        &self,
        read: impl FnOnce(&str) -> std::result::Result<T, celeriac_units::Error>,
        text: &str,
    ) -> Result<T> {
        read(text).or_else(|error| self.refuse(format_args!("`{}` {error}", self.key)))
    }

    fn max_deliveries(&self) -> Result<u32> {
        match self.literal() {
            Some(Lit::Int(number)) => number.base10_parse().ok().filter(|most| *most >= 2),
            _ => None,
        }
        .map_or_else(|| self.refuse("`max_deliveries` is a whole number from 2, such as `max_deliveries = 3`"), Ok)
    }

    pub(crate) fn value(&self) -> Option<&Expr> {
        self.value.as_ref().map(without_group)
    }

    pub(crate) fn literal(&self) -> Option<&Lit> {
        match self.value() {
            Some(Expr::Lit(ExprLit { lit, .. })) => Some(lit),
            _ => None,
        }
    }

    pub(crate) fn refuse<T>(&self, message: impl std::fmt::Display) -> Result<T> {
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
