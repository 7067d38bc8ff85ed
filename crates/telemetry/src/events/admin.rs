//! Events of the operator's tools.

const TARGET: &str = "celeriac::admin";

event! {
    /// The connection was lost during a search of dead letters. The search restarts at the head of
    /// the queue.
    pub struct SearchRestarted<'a> {
        /// The dead-letter queue.
        queue: &'a str,
        /// Error.
        error: &'a str,
    }
    log: WARN "search restarted" { queue, error };
}
