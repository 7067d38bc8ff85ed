//! Faults of the `broker` section, found before any connection.

use celeriac_config::{Secret, URL_ESCAPES, has_several_at_signs};
use celeriac_topology::Ladder;
use url::Url;

use crate::amqp;
use crate::error::Error;
use crate::options::{BrokerOptions, TlsOptions};

impl BrokerOptions {
    /// Lists the faults of these options, each with its key.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let url = self.url.expose();
        if !["amqp://", "amqps://", "memory://"].iter().any(|scheme| url.starts_with(scheme)) {
            problems.push(("url".to_owned(), "should begin with amqp://, amqps:// or memory://".to_owned()));
        } else if !self.is_in_process()
            && let Err(Error::Invalid { reason, .. }) = amqp::check_nodes(self)
        {
            problems.push(("url".to_owned(), reason));
        } else {
            problems.extend(self.problems_of_tls());
        }
        if let Some(url) = &self.management_url
            && let Err(reason) = check_management(url)
        {
            problems.push(("management_url".to_owned(), reason));
        }
        problems.extend(Ladder::problem(&self.delay_prefix).map(|problem| ("delay_prefix".to_owned(), problem)));
        for (key, value) in [("confirm_window", self.confirm_window), ("publish_channels", self.publish_channels)] {
            if value == 0 {
                problems.push((key.to_owned(), "should be at least 1".to_owned()));
            }
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("publish_timeout", self.publish_timeout),
            ("consumer_timeout", self.consumer_timeout),
        ];
        for (key, value) in times {
            if value.is_zero() {
                problems.push((key.to_owned(), "should be more than 0s".to_owned()));
            }
        }
        problems
    }

    fn problems_of_tls(&self) -> Vec<(String, String)> {
        if !self.is_in_process() {
            return amqp::problems_of_tls(self);
        }
        let said = self.tls != TlsOptions::default();
        let problem = || ("tls".to_owned(), "needs amqps:// URLs; memory:// has no TLS".to_owned());
        said.then(problem).into_iter().collect()
    }
}

/// Refuses a text that is not the URL of a management API.
fn check_management(url: &Secret) -> Result<(), String> {
    let url = url.expose();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err("should begin with http:// or https://".to_owned());
    }
    if has_several_at_signs(url) {
        return Err(format!("has more than one `@`; {URL_ESCAPES}"));
    }
    Url::parse(url).map(drop).map_err(|reason| format!("should be a URL: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn options_that_make_no_sense_are_all_named() {
        let options = BrokerOptions {
            url: Secret::new("amqp://u:secret@host:port/"),
            confirm_window: 0,
            publish_timeout: Duration::ZERO,
            ..BrokerOptions::default()
        };
        let problems = options.validate();
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["url", "confirm_window", "publish_timeout"]);
        assert!(!problems[0].1.contains("secret"), "{}", problems[0].1);
        assert_eq!(BrokerOptions::default().validate(), []);
    }

    #[test]
    fn a_management_url_of_another_kind_is_refused_without_its_password() {
        for (url, reason) in [
            ("ftp://u:secret@host", "should begin with http:// or https://"),
            ("host:15672", "should begin with http:// or https://"),
            ("http://u:secret@host:port", "should be a URL: invalid port number"),
        ] {
            assert_eq!(check_management(&Secret::new(url)), Err(reason.to_owned()));
        }
        let reason = check_management(&Secret::new("http://u:secret@a/b@host")).unwrap_err();
        assert!(reason.starts_with("has more than one `@`; write") && !reason.contains("secret"), "{reason}");
    }
}
