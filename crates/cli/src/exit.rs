//! The exit codes. They follow `sysexits.h`, so that a supervisor can tell a mistake from an outage.

/// Everything went well.
pub const OK: u8 = 0;
/// The task that was awaited failed, or did not end in time.
pub const TASK_FAILED: u8 = 1;
/// Broker and files differ (`topology plan`).
pub const DIFFERENT: u8 = 2;
/// The command line cannot be understood.
pub const USAGE: u8 = 2;
/// Input of a verb is not valid, such as arguments that are not JSON.
pub const DATA: u8 = 65;
/// Broker or database cannot be reached.
pub const UNAVAILABLE: u8 = 69;
/// Something that should not happen.
pub const INTERNAL: u8 = 70;
/// Broker or database refuse access, or cannot prove who they are.
pub const DENIED: u8 = 77;
/// The configuration cannot start: starting again without changing it is in vain.
pub const CONFIG: u8 = 78;
