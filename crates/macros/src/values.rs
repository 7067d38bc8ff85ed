//! Types of options: each is read from the attribute and written as a value of `TaskOptions`.

use std::time::Duration;

use celeriac_units::{AckMode, FieldPaths, NONE, RateLimit, RateUnit, TimeLimit, TrackedStates, parse_duration};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Result};

use crate::syntax::without_group;
use crate::written::WrittenOption;

/// Longest name, in bytes: the limit of AMQP.
const LONGEST_NAME: usize = 255;

/// A type of options.
pub(crate) trait OptionValue: Sized {
    /// Reads the value of an option. `example` is the whole option, for messages.
    fn read(option: &WrittenOption, example: &str) -> Result<Self>;

    /// Returns the value of the field of `TaskOptions`, as code.
    fn tokens(&self) -> TokenStream;
}

impl OptionValue for LitStr {
    fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        let key = &option.key;
        let Some(Lit::Str(name)) = option.literal() else {
            return option.refuse(format_args!("`{key}` is a string, such as `{example}`"));
        };
        match name.value().len() {
            0 => option.refuse(format_args!("`{key}` is empty")),
            1..=LONGEST_NAME => Ok(name.clone()),
            length => option.refuse(format_args!("`{key}` has {length} bytes, AMQP allows {LONGEST_NAME}")),
        }
    }

    fn tokens(&self) -> TokenStream {
        some(&quote!(#self))
    }
}

impl OptionValue for u8 {
    fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        match option.literal() {
            Some(Lit::Int(number)) => number.base10_parse().ok(),
            _ => None,
        }
        .map_or_else(
            || option.refuse(format_args!("`{}` is a whole number from 0 to 255, such as `{example}`", option.key)),
            Ok,
        )
    }

    fn tokens(&self) -> TokenStream {
        some(&quote!(#self))
    }
}

impl OptionValue for u32 {
    fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        match option.literal() {
            Some(Lit::Int(number)) => number.base10_parse().ok(),
            _ => None,
        }
        .map_or_else(|| option.refuse(format_args!("`{}` is a whole number, such as `{example}`", option.key)), Ok)
    }

    fn tokens(&self) -> TokenStream {
        some(&quote!(#self))
    }
}

impl OptionValue for bool {
    fn read(option: &WrittenOption, _: &str) -> Result<Self> {
        match (option.literal(), option.value()) {
            (Some(Lit::Bool(flag)), _) => Ok(flag.value),
            (_, None) => Ok(true),
            _ => option.refuse(format_args!("`{0}` stands alone, or is `{0} = true` or `{0} = false`", option.key)),
        }
    }

    fn tokens(&self) -> TokenStream {
        quote!(#self)
    }
}

impl OptionValue for AckMode {
    fn read(option: &WrittenOption, _: &str) -> Result<Self> {
        match option.literal() {
            Some(Lit::Str(text)) => option.parse(&text.value()),
            _ => option.refuse(format_args!(
                "`{}` is `\"late\"` (after the task has ended) or `\"early\"` (before it starts)",
                option.key
            )),
        }
    }

    fn tokens(&self) -> TokenStream {
        match self {
            Self::Late => quote!(::celeriac::AckMode::Late),
            Self::Early => quote!(::celeriac::AckMode::Early),
        }
    }
}

impl OptionValue for TrackedStates {
    fn read(option: &WrittenOption, _: &str) -> Result<Self> {
        match option.literal() {
            Some(Lit::Str(text)) => option.parse(&text.value()),
            _ => option.refuse(format_args!("`{}` is `\"finished\"`, `\"started\"` or `\"sent\"`", option.key)),
        }
    }

    fn tokens(&self) -> TokenStream {
        some(&match self {
            Self::Finished => quote!(::celeriac::settings::TrackedStates::Finished),
            Self::Started => quote!(::celeriac::settings::TrackedStates::Started),
            Self::Sent => quote!(::celeriac::settings::TrackedStates::Sent),
        })
    }
}

impl OptionValue for FieldPaths {
    fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        let Some(Expr::Array(list)) = option.value() else {
            return option.refuse(format_args!("`{}` is a list, such as `{example}`", option.key));
        };
        let paths = list.elems.iter().map(|path| match without_group(path) {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Ok(path.value()),
            other => Err(Error::new_spanned(other, "a path is a string, such as `\"customer.email\"`")),
        });
        Self::new(paths.collect::<Result<Vec<_>>>()?)
            .or_else(|error| option.refuse(format_args!("`{}` {error}", option.key)))
    }

    fn tokens(&self) -> TokenStream {
        let paths = self.iter();
        some(&quote!(::celeriac::FieldPaths::of(&[#(#paths),*])))
    }
}

impl OptionValue for Duration {
    fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        match option.literal() {
            Some(Lit::Str(text)) => option.parse_with(parse_duration, &text.value()),
            _ => option.refuse(format_args!("`{}` is a duration, such as `{example}`", option.key)),
        }
    }

    fn tokens(&self) -> TokenStream {
        some(&duration(*self))
    }
}

impl OptionValue for TimeLimit {
    fn read(option: &WrittenOption, example: &str) -> Result<Self> {
        match (option.literal(), option.value()) {
            (Some(Lit::Str(text)), _) => option.parse(&text.value()),
            (_, Some(Expr::Path(path))) if path.path.is_ident(NONE) => Ok(Self::Never),
            _ => option.refuse(format_args!(
                "`{}` is a duration, such as `{example}`, or `none` for no limit, whatever the worker's is",
                option.key
            )),
        }
    }

    fn tokens(&self) -> TokenStream {
        some(&match self {
            Self::Never => quote!(::celeriac::TimeLimit::Never),
            Self::After(time) => {
                let time = duration(*time);
                quote!(::celeriac::TimeLimit::After(#time))
            }
        })
    }
}

impl OptionValue for RateLimit {
    fn read(option: &WrittenOption, _: &str) -> Result<Self> {
        let text = match option.literal() {
            Some(Lit::Str(text)) => text.value(),
            Some(Lit::Int(number)) => number.base10_digits().to_owned(),
            Some(Lit::Float(number)) => number.base10_digits().to_owned(),
            _ => String::new(),
        };
        match option.parse_with(Self::parse_optional, &text)? {
            Some(rate) => Ok(rate),
            None => option.refuse(format_args!("`{}` of zero is no limit, as with Celery: leave it out", option.key)),
        }
    }

    fn tokens(&self) -> TokenStream {
        let times = self.times();
        let per = match self.unit() {
            RateUnit::Second => quote!(per_second),
            RateUnit::Minute => quote!(per_minute),
            RateUnit::Hour => quote!(per_hour),
            RateUnit::Day => quote!(per_day),
        };
        some(&quote!(::celeriac::RateLimit::#per(#times)))
    }
}

fn some(value: &TokenStream) -> TokenStream {
    quote!(::core::option::Option::Some(#value))
}

/// Returns a duration, as code.
pub(crate) fn duration(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}
