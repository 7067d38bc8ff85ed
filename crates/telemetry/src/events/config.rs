//! Events of reading the configuration.

const TARGET: &str = "celeriac::config";

event! {
    /// An entry of the configuration is for none of the program's tasks. It may be for another
    /// program's.
    pub struct OverrideUnmatched<'a> {
        /// The entry's key.
        key: &'a str,
        /// Problem.
        error: &'a str,
    }
    log: WARN "override matches no task" { option = key, error };
}
