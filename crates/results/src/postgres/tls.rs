//! The TLS mode of connections: verified to another host, unless the URL sets one.
//!
//! The driver's own default, `prefer`, verifies nothing, and continues without TLS if the server
//! offers none. Whoever can change the traffic could read and write every result.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The names of the parameter with the mode.
const PARAMETERS: [&str; 2] = ["sslmode", "ssl-mode"];

/// Returns the options of `url` with `verify-full`, if the server is on another host and the URL
/// sets no mode.
pub(super) fn with_default_mode(options: PgConnectOptions, url: &str) -> PgConnectOptions {
    // Any other mode than the driver's default comes from PGSSLMODE, which the driver reads.
    let is_default = matches!(options.get_ssl_mode(), PgSslMode::Prefer) && !sets_mode(url);
    if is_default && !is_local(&options) { options.ssl_mode(PgSslMode::VerifyFull) } else { options }
}

fn sets_mode(url: &str) -> bool {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    parameters.split('&').any(|parameter| parameter.split('=').next().is_some_and(|name| PARAMETERS.contains(&name)))
}

/// Returns `true` for a Unix socket and for the loopback interface.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[test]
    fn a_server_on_another_host_is_verified_unless_the_url_sets_a_mode() {
        for (url, expected) in [
            ("postgres://a:b@db.internal/c", "VerifyFull"),
            ("postgres://a:b@10.0.0.7/c?application_name=sslmode", "VerifyFull"),
            ("postgres://[2001:db8::7]/c", "VerifyFull"),
            ("postgres:///c?host=db.internal", "VerifyFull"),
            ("postgres://localhost.example.org/c", "VerifyFull"),
            ("postgres://db.internal/c?sslmode=prefer", "Prefer"),
            ("postgres://db.internal/c?application_name=x&ssl-mode=disable", "Disable"),
            ("postgres://db.internal/c?sslmode=require", "Require"),
            ("postgres://localhost/c", "Prefer"),
            ("postgres://LOCALHOST:5432/c", "Prefer"),
            ("postgres://127.0.0.1/c", "Prefer"),
            ("postgres://127.1.2.3/c", "Prefer"),
            ("postgres://[::1]/c", "Prefer"),
            ("postgres://[::ffff:127.0.0.1]/c", "Prefer"),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/c", "Prefer"),
            ("postgres:///c?host=/var/run/postgresql", "Prefer"),
            ("postgres://127.0.0.1/c?sslmode=verify-full", "VerifyFull"),
        ] {
            let options = with_default_mode(PgConnectOptions::from_str(url).unwrap(), url);
            assert_eq!(format!("{:?}", options.get_ssl_mode()), expected, "{url}");
        }
    }
}
