//! The hosts of a Postgres URL. Several are separated by commas, as for Postgres' own clients:
//! `postgres://user@one:5432,two:5432/database`.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// The parameter that names the servers that are meant.
const TARGET: &str = "target_session_attrs";

/// The hosts of a Postgres URL.
#[derive(Debug)]
pub(crate) struct PostgresHosts {
    /// The driver's options for each host, in the order of the URL.
    pub(crate) each: Vec<PgConnectOptions>,
    /// True if only a server that takes writes is meant. The default of a URL with several hosts.
    pub(crate) wants_writes: bool,
}

impl PostgresHosts {
    /// Reads a URL.
    ///
    /// # Errors
    /// Returns an error if the URL cannot be parsed. Its source has the reason.
    pub(crate) fn of(url: &str) -> sqlx::Result<Self> {
        let (url, target) = without_target(url);
        let each =
            host_urls(&url).iter().map(|url| PgConnectOptions::from_str(url)).collect::<sqlx::Result<Vec<_>>>()?;
        let has_several = each.len() > 1;
        if each.iter().any(|host| host.get_host().contains(',')) {
            return Err(invalid("parameter host has several hosts"));
        }
        let wants_writes = match target.as_deref() {
            None => has_several,
            Some("read-write") => true,
            Some("any") => false,
            Some(other) => return Err(invalid(&format!("{TARGET} is `{other}`"))),
        };
        Ok(Self { each, wants_writes })
    }
}

/// Returns a URL for each host.
fn host_urls(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // A password may contain commas.
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let user = &authority[..authority.len() - hosts.len()];
    hosts.split(',').map(|host| format!("{scheme}://{user}{host}{path}")).collect()
}

/// Takes the parameter, which the driver does not know, out of the URL.
fn without_target(url: &str) -> (String, Option<String>) {
    let Some((server, parameters)) = url.split_once('?') else { return (url.to_owned(), None) };
    let is_target = |parameter: &&str| parameter.split('=').next() == Some(TARGET);
    let (targets, others): (Vec<_>, Vec<_>) = parameters.split('&').partition(is_target);
    let target = targets.last().map(|parameter| parameter.split_once('=').map_or("", |(_, value)| value).to_owned());
    let mark = if others.is_empty() { "" } else { "?" };
    (format!("{server}{mark}{}", others.join("&")), target)
}

fn invalid(reason: &str) -> sqlx::Error {
    sqlx::Error::Configuration(reason.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_the_user_the_database_and_the_parameters_of_the_url() {
        let hosts = PostgresHosts::of("postgres://a:b,c@one:1,two:2,three/d?application_name=x").unwrap();
        let each: Vec<_> = hosts.each.iter().map(|host| (host.get_host(), host.get_port())).collect();
        assert_eq!(each, [("one", 1), ("two", 2), ("three", 5432)]);
        for host in &hosts.each {
            assert_eq!((host.get_username(), host.get_database()), ("a", Some("d")));
            assert_eq!(host.get_application_name(), Some("x"));
        }
    }

    #[test]
    fn several_hosts_mean_the_one_that_takes_writes() {
        for (url, expected) in [
            ("postgres://one/d", false),
            ("postgres://one,two/d", true),
            ("postgres://one/d?target_session_attrs=read-write", true),
            ("postgres://one,two/d?sslmode=disable&target_session_attrs=any", false),
            ("postgres:///d?host=/var/run/postgresql", false),
        ] {
            assert_eq!(PostgresHosts::of(url).unwrap().wants_writes, expected, "{url}");
        }
    }

    #[test]
    fn an_unknown_target_and_a_list_in_a_parameter_are_refused() {
        for (url, reason) in [
            ("postgres://one,two/d?target_session_attrs=standby", "target_session_attrs is `standby`"),
            ("postgres:///d?host=one,two", "several hosts"),
            ("postgres://one,two:x/d", "invalid port number"),
        ] {
            let error = PostgresHosts::of(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }
}
