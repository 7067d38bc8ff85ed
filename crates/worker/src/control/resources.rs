//! Memory and processor time of this process, as the system shows them.

use celeriac_protocol::Value;

/// Clock ticks of a second in `/proc`, which are the same on every Linux.
const TICKS: f64 = 100.0;

/// Returns the memory in use, as Celery writes it, or `None` if the system does not show it.
pub(super) fn memory() -> Option<String> {
    let kib = kib_of(&read("status")?, "VmRSS:")?;
    Some(format!("{:.1}MB", kib / 1024.0))
}

/// Returns the use of resources with the names of `getrusage`. Empty if the system does not show
/// it.
pub(super) fn rusage() -> Value {
    let (Some(status), Some(stat)) = (read("status"), read("stat")) else { return Value::Map(Default::default()) };
    // The name of the program stands in parentheses, and may contain spaces.
    let fields: Vec<&str> =
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    let count = |name| count_of(&status, name).unwrap_or_default();
    [
        ("utime", Value::from(field(14) / TICKS)),
        ("stime", (field(15) / TICKS).into()),
        ("maxrss", (kib_of(&status, "VmHWM:").unwrap_or_default() as i64).into()),
        ("minflt", (field(10) as i64).into()),
        ("majflt", (field(12) as i64).into()),
        ("nvcsw", count("voluntary_ctxt_switches:").into()),
        ("nivcsw", count("nonvoluntary_ctxt_switches:").into()),
    ]
    .into_iter()
    .collect()
}

fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/{file}")).ok()
}

fn kib_of(status: &str, name: &str) -> Option<f64> {
    value_of(status, name)?.trim_end_matches(" kB").parse().ok()
}

fn count_of(status: &str, name: &str) -> Option<i64> {
    value_of(status, name)?.parse().ok()
}

fn value_of<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_memory_and_its_time() {
        let memory = memory().unwrap();
        assert!(memory.trim_end_matches("MB").parse::<f64>().unwrap() > 1.0, "{memory}");
        let rusage = rusage();
        assert!(rusage["maxrss"].as_i64().unwrap() > 1024, "{rusage:?}");
        assert!(rusage["minflt"].as_i64().unwrap() > 0 && rusage["utime"].as_f64().is_some(), "{rusage:?}");
    }
}
