//! Exit codes of the command line. From 64 on they follow `sysexits.h`.

use std::process::{ExitCode, Termination};

/// Declares [`Exit`] from its one table: help texts and `docs/exit-codes.md` say the same.
macro_rules! exits {
    ($($name:ident = $code:literal, $meaning:literal;)*) => {
        /// The exit code of a verb. `main` returns it, or the [`ExitCode`] that it converts into.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[must_use = "the process exits with it when `main` returns it"]
        pub enum Exit {
            $(#[doc = $meaning] $name,)*
        }

        impl Exit {
            /// Every exit code, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the number that the shell sees.
            pub fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// Returns its meaning, as help texts print it.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }
        }
    };
}

exits! {
    Done = 0, "done";
    TaskFailed = 1, "the awaited task failed";
    Usage = 2, "command line not understood";
    Different = 3, "broker or tables differ from what the files declare";
    NotConfirmed = 4, "not confirmed: declined, or no terminal to ask on and no --yes";
    NotReady = 5, "worker not ready, not live, or not running";
    Refused = 6, "a worker refused the command";
    Data = 65, "invalid input, such as arguments that are not JSON or an unknown id";
    Unavailable = 69, "broker or database unavailable";
    Internal = 70, "internal error";
    TimedOut = 75, "timed out waiting for the task";
    Denied = 77, "access denied, or peer not trusted";
    Config = 78, "invalid configuration; restarting without a change does not help";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_meaning_and_every_meaning_one_code() {
        let codes: Vec<_> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert!(codes.is_sorted_by(|one, next| one < next), "{codes:?}");
        for exit in Exit::ALL {
            assert_eq!(Exit::ALL.iter().filter(|other| other.meaning() == exit.meaning()).count(), 1, "{exit:?}");
        }
    }
}
