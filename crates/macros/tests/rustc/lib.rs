//! The arguments of the compiler, as a list of strings in the program that it compiles.
//!
//! A test that compiles programs needs the libraries that it was compiled with itself: those that
//! Cargo has built, and no others. Only the compiler's command line says which these are.

use proc_macro::{Delimiter, Group, Literal, Punct, Spacing, TokenStream, TokenTree};

/// Expands to `["--crate-name", "compile", …]`.
#[proc_macro]
pub fn arguments(_: TokenStream) -> TokenStream {
    let comma = || TokenTree::from(Punct::new(',', Spacing::Alone));
    let list: TokenStream =
        std::env::args().skip(1).flat_map(|argument| [Literal::string(&argument).into(), comma()]).collect();
    TokenTree::from(Group::new(Delimiter::Bracket, list)).into()
}
