//! The name of a worker, which may contain the name of its machine.

const DEFAULT: &str = "celeriac@%h";

/// Returns the name of a worker with this setting.
///
/// As in Celery, `%h` stands for the name of the machine, `%n` for its first part, `%d` for its
/// domain, and `%%` for a percent sign.
pub fn worker_name(setting: Option<&str>) -> String {
    let host = gethostname::gethostname();
    written(setting.unwrap_or(DEFAULT), &host.to_string_lossy())
}

/// Returns the problem of a name, if there is one.
pub(crate) fn problem(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > 200 {
        return Some("should have 1 to 200 bytes".to_owned());
    }
    let mut rest = name.chars();
    while let Some(letter) = rest.next() {
        if letter == '%' && !matches!(rest.next(), Some('h' | 'n' | 'd' | '%')) {
            return Some("after % should follow h, n, d or %".to_owned());
        }
    }
    None
}

fn written(name: &str, host: &str) -> String {
    let (first, domain) = host.split_once('.').unwrap_or((host, ""));
    let mut written = String::with_capacity(name.len() + host.len());
    let mut rest = name.chars();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            written.push(letter);
            continue;
        }
        match rest.next() {
            Some('h') => written.push_str(host),
            Some('n') => written.push_str(first),
            Some('d') => written.push_str(domain),
            _ => written.push('%'),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_machines_name_are_those_of_celery() {
        let names = [
            (DEFAULT, "celeriac@pod-1.jobs.local"),
            ("w1@%n", "w1@pod-1"),
            ("%d:100%%", "jobs.local:100%"),
            ("plain", "plain"),
        ];
        for (name, expected) in names {
            assert_eq!((written(name, "pod-1.jobs.local").as_str(), problem(name)), (expected, None), "{name}");
        }
        assert_eq!(written("w@%h.%d", "box"), "w@box.");
    }

    #[test]
    fn a_name_that_would_be_read_otherwise_than_it_is_meant_is_a_problem() {
        for name in ["w1@%H", "100%", "%i", "", &"x".repeat(201)] {
            assert!(problem(name).is_some(), "{name}");
        }
    }
}
