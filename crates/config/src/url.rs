//! Faults that URLs of servers have in common.

/// The remedy for a URL whose user or password breaks it.
pub const URL_ESCAPES: &str = "write `/`, `#`, `?` and `@` in a password as %2F, %23, %3F and %40";

/// Returns true if the URL of one server has more than one `@` before its parameters.
///
/// One of them belongs to the user or the password. The host would begin at a wrong place if a `/`,
/// `?` or `#` follows, as in `amqp://user:a@b/c@host`.
pub fn has_several_at_signs(url: &str) -> bool {
    let server = match url.rsplit_once('?') {
        Some((server, parameters)) if parameters.contains('=') => server,
        _ => url,
    };
    server.matches('@').count() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_may_contain_the_sign_and_passwords_may_not() {
        for (url, expected) in [
            ("amqp://host", false),
            ("amqp://u:p@host/%2f", false),
            ("amqp://u:p%40@host", false),
            ("postgres://u:p@host/d?sslrootcert=/ca@home.pem&user=a@b", false),
            ("amqp://u:p@a@host", true),
            ("amqp://u:a@b/c@host", true),
            ("amqp://u:a@b?c@host/v", true),
            ("amqp://u:a@b#c@host", true),
            ("postgres://u:a@b?c@host/d?sslmode=require", true),
        ] {
            assert_eq!(has_several_at_signs(url), expected, "{url}");
        }
    }
}
