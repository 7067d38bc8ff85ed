//! Events of reading the configuration.

const TARGET: &str = "celeriac::config";

event! {
    /// An entry of the configuration matches no task of the program. It may be for another program.
    pub struct OverrideUnmatched<'a> {
        /// The entry's key.
        key: &'a str,
        /// The problem.
        error: &'a str,
    }
    log: WARN "override matches no task" { option = key, error };
}
