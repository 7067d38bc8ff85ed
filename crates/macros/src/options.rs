//! The options in the parentheses of `#[task(…)]`, as values.

use std::time::Duration;

use celeriac_units::{AckMode, FieldPaths, RateLimit, TimeLimit, TrackedStates, task_options};
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Expr, Ident, ItemFn, LitStr, Result};

use crate::mistakes::Mistakes;
use crate::name::NamePart;
use crate::retries::Retries;
use crate::signature::FunctionSignature;
use crate::values::OptionValue;
use crate::written::{self, WrittenOption};

/// The options of a task's declaration.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<NamePart>,
    /// The text before the name.
    pub(crate) prefix: Option<NamePart>,
    /// Hooks, the outermost first.
    pub(crate) hooks: Vec<Expr>,
    /// The word `transactional`, if it is there.
    pub(crate) transactional: Option<Ident>,
    pub(crate) fields: OptionFields,
    pub(crate) retries: Retries,
}

/// The type that an option is read as.
macro_rules! value_type {
    (Name) => {
        LitStr
    };
    ($type:ident) => {
        $type
    };
}

macro_rules! option_fields {
    (
        attribute { $($_1:tt)* }
        declared { $(
            $(#[$_2:meta])* $declared:ident: $declared_type:ident {
                attribute: $declared_example:literal, meaning: $_3:literal, default: $_4:literal,
            }
        )* }
        fields { $(
            $(#[$_5:meta])* $key:ident: $type:ident {
                attribute: $example:literal, meaning: $_6:literal, default: $_7:literal,
                config: $_8:literal, $_9:literal,
                $(valid: $valid:expr, $complaint:literal,)?
            }
        )* }
        retries { $($_10:tt)* }
        attribute_retries { $($_11:tt)* }
    ) => {
        /// The options that are fields of `TaskOptions`.
        #[derive(Default)]
        pub(crate) struct OptionFields {
            $(pub(crate) $declared: Option<value_type!($declared_type)>,)*
            $(pub(crate) $key: Option<$type>,)*
        }

        impl OptionFields {
            /// Sets an option. Returns false if it is not one of these.
            fn set(&mut self, key: &str, option: &WrittenOption) -> Result<bool> {
                match key {
                    $(stringify!($declared) => {
                        self.$declared = Some(<value_type!($declared_type)>::read(option, $declared_example)?);
                    })*
                    $(stringify!($key) => {
                        let value = $type::read(option, $example)?;
                        $(
                            let valid: fn(&$type) -> bool = $valid;
                            if !valid(&value) {
                                return option.refuse(format_args!("`{}` {}", option.key, $complaint));
                            }
                        )?
                        self.$key = Some(value);
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Returns the fields that are set, as code.
            fn tokens(&self) -> Vec<TokenStream> {
                let mut fields = Vec::new();
                $(if let Some(value) = &self.$declared {
                    let value = value.tokens();
                    fields.push(quote!($declared: #value));
                })*
                $(if let Some(value) = &self.$key {
                    let value = value.tokens();
                    fields.push(quote!($key: #value));
                })*
                fields
            }
        }
    };
}

task_options!(option_fields);

impl Options {
    /// Reads the options and reports their mistakes.
    pub(crate) fn parse(tokens: TokenStream, mistakes: &mut Mistakes) -> Self {
        let written = written::read(tokens, mistakes);
        let mut options = Self::default();
        let mut seen: Vec<&Ident> = Vec::new();
        for option in &written {
            if seen.contains(&&option.key) {
                mistakes.add(&option.key, format_args!("`{}` is given twice", option.key));
                continue;
            }
            seen.push(&option.key);
            if let Err(error) = options.set(option) {
                mistakes.take(error);
            }
        }
        options.retries.check_together(&written, mistakes);
        options.check_limits(&written, mistakes);
        options
    }

    fn set(&mut self, option: &WrittenOption) -> Result<()> {
        match option.key.to_string().as_str() {
            "name" => self.name = Some(NamePart::read(option, "name = \"orders.charge\"")?),
            "prefix" => self.prefix = Some(NamePart::read(option, "prefix = \"orders.\"")?),
            "transactional" => self.transactional = bool::read(option, "")?.then(|| option.key.clone()),
            "hooks" => self.hooks = hooks(option)?,
            key if self.fields.set(key, option)? => {}
            key if self.retries.set(key, option)? => {}
            _ => return Err(option.unknown()),
        }
        Ok(())
    }

    /// Returns the fields of `TaskOptions`, as code.
    pub(crate) fn tokens(&self) -> Vec<TokenStream> {
        let mut fields = self.fields.tokens();
        fields.extend(self.retries.fields());
        fields
    }

    /// Refuses a soft limit that the hard limit precedes, because it would have no effect.
    fn check_limits(&self, written: &[WrittenOption], mistakes: &mut Mistakes) {
        let wrote = |key: &str| written.iter().find(|option| option.key == key);
        let (hard, soft) = (self.fields.time_limit, self.fields.soft_time_limit);
        if let (Some(TimeLimit::After(hard)), Some(TimeLimit::After(soft))) = (hard, soft)
            && soft >= hard
            && let Some(written) = wrote("soft_time_limit")
        {
            mistakes.add(&written.value, "`soft_time_limit` is never reached: it has to be shorter than `time_limit`");
        }
    }

    /// Refuses a hard limit of a blocking task, because a thread cannot be ended from outside.
    pub(crate) fn check_thread(&self, function: &ItemFn, mistakes: &mut Mistakes) {
        if function.sig.asyncness.is_none() && matches!(self.fields.time_limit, Some(TimeLimit::After(_))) {
            let message = "`time_limit` has no effect: a plain `fn` runs on a thread, which cannot be ended; make it an \
                           `async fn`, or set `soft_time_limit` and check `ctx.is_cancelled()`";
            mistakes.add(&function.sig.ident, message);
        }
    }

    /// Checks that function and options both have a transaction, or neither.
    pub(crate) fn check_transaction(
        &self,
        signature: &FunctionSignature,
        function: &ItemFn,
        mistakes: &mut Mistakes,
    ) -> bool {
        let mut found = Mistakes::default();
        match &self.transactional {
            None if signature.transaction => {
                let message = "only a transactional task is given a transaction: write `#[task(transactional)]`";
                found.add(&function.sig.inputs, message);
            }
            None => {}
            Some(transactional) => {
                if !signature.transaction {
                    let message =
                        "a transactional task takes its transaction: put `tx: &mut PgConnection` before the arguments";
                    found.add(transactional, message);
                }
                if function.sig.asyncness.is_none() {
                    let message = "a task that blocks its thread cannot be transactional: make it an `async fn`";
                    found.add(transactional, message);
                }
                if self.fields.acks == Some(AckMode::Early) {
                    let message = "a transactional task is acknowledged after its commit: leave `acks` out";
                    found.add(transactional, message);
                }
            }
        }
        match found.into_error() {
            None => true,
            Some(error) => {
                mistakes.take(error);
                false
            }
        }
    }
}

fn hooks(option: &WrittenOption) -> Result<Vec<Expr>> {
    match option.value() {
        Some(Expr::Array(list)) => Ok(list.elems.iter().cloned().collect()),
        Some(Expr::Lit(_)) | None => {
            option.refuse("`hooks` is a value that implements `Hooks`, such as `hooks = Audit`, or a list of them")
        }
        Some(one) => Ok(vec![one.clone()]),
    }
}
