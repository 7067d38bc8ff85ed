//! A retry policy, as code.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;

use crate::values::duration;

/// Longest wait by default, as in Celery.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// Number of retries of an error that is declared to be tried again, if no number is set.
pub(crate) const USUAL: u32 = 3;

/// The number of retries of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxRetries {
    Times(u32),
    WithoutEnd,
}

/// Returns a value of `RetryPolicy`, as code.
pub(crate) fn policy(times: MaxRetries, first: Duration, cap: Duration, factor: f64, jitter: f64) -> TokenStream {
    let times = match times {
        MaxRetries::Times(times) => quote!(::core::option::Option::Some(#times)),
        MaxRetries::WithoutEnd => quote!(::core::option::Option::None),
    };
    let (first, cap) = (duration(first), duration(cap));
    quote! {
        ::celeriac::RetryPolicy { max_retries: #times, first: #first, factor: #factor, cap: #cap, jitter: #jitter }
    }
}
