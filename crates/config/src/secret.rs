//! Secret text: passwords, and URLs with a password.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The replacement for secret text.
const MASK: &str = "***";

/// Value of a URL setting for no server.
const NONE: &str = "none";

/// Text that `Debug`, `Display` and serialization mask.
///
/// Of a URL, only the password is masked. Other text is masked whole. Several URLs may be separated
/// by commas.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the text, with `***` for its secret part. The word `none` is no secret.
    pub fn masked(&self) -> String {
        if self.0 == NONE {
            return self.0.clone();
        }
        let mut masked = String::with_capacity(self.0.len());
        for (index, url) in split_urls(&self.0).into_iter().enumerate() {
            if index > 0 {
                masked.push(',');
            }
            mask(url, &mut masked);
        }
        masked
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.masked())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.masked())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(SecretVisitor)
    }
}

/// Reads text. Its errors do not repeat other values.
struct SecretVisitor;

const UNQUOTED: &str = "should be text; put it in quotes";

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret(text))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(UNQUOTED))
    }
}

/// Splits a list of URLs. Only a comma before another `scheme://` separates: a password may contain
/// commas.
fn split_urls(text: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut start = 0;
    for (comma, _) in text.match_indices(',') {
        if begins_with_scheme(text[comma + 1..].trim_start()) {
            urls.push(&text[start..comma]);
            start = comma + 1;
        }
    }
    urls.push(&text[start..]);
    urls
}

fn begins_with_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

fn mask(text: &str, masked: &mut String) {
    if text.is_empty() {
        return;
    }
    let Some((scheme, rest)) = text.split_once("://").filter(|_| begins_with_scheme(text.trim_start())) else {
        masked.push_str(MASK);
        return;
    };
    masked.push_str(scheme);
    masked.push_str("://");
    // The last `@`: a password that is not percent-encoded may contain `/`, `?` and `@`.
    let rest = match rest.rsplit_once('@') {
        Some((user, host)) => {
            match user.split_once(':') {
                Some((name, _)) => masked.extend([name, ":", MASK]),
                None => masked.push_str(user),
            }
            masked.push('@');
            host
        }
        None => rest,
    };
    mask_query(rest, masked);
}

/// Masks `?password=…` and the like, as in Postgres URLs.
fn mask_query(rest: &str, masked: &mut String) {
    let Some((path, query)) = rest.split_once('?') else {
        masked.push_str(rest);
        return;
    };
    masked.push_str(path);
    for (index, parameter) in query.split('&').enumerate() {
        masked.push(if index == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if is_secret_parameter(name) => masked.extend([name, "=", MASK]),
            _ => masked.push_str(parameter),
        }
    }
}

fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_secret_is_masked() {
        for (text, expected) in [
            ("", ""),
            ("hunter2", "***"),
            ("none", "none"),
            ("guest:guest@localhost", "***"),
            ("host=localhost password=hunter2", "***"),
            ("memory://", "memory://"),
            ("sqlite://celeriac.db", "sqlite://celeriac.db"),
            ("amqp://localhost:5672/%2f", "amqp://localhost:5672/%2f"),
            ("amqp://guest@localhost", "amqp://guest@localhost"),
            ("amqp://guest:guest@localhost:5672/%2f", "amqp://guest:***@localhost:5672/%2f"),
            ("amqp://:hunter2@localhost", "amqp://:***@localhost"),
            ("amqp://a:b@one,amqps://c:d@two:5671/v", "amqp://a:***@one,amqps://c:***@two:5671/v"),
            ("amqp://a:b@one, amqp://c:d@two", "amqp://a:***@one, amqp://c:***@two"),
            ("amqp://a:b,c@one", "amqp://a:***@one"),
            ("amqp://a:b/c?d@e@one", "amqp://a:***@one"),
            ("postgres://a:b@one,two/db", "postgres://a:***@one,two/db"),
            (
                "postgres://one/db?user=a&password=b&sslmode=require",
                "postgres://one/db?user=a&password=***&sslmode=require",
            ),
        ] {
            assert_eq!(Secret::new(text).masked(), expected, "{text}");
        }
    }

    #[test]
    fn every_way_to_print_masks() {
        let secret = Secret::new("amqp://a:b@one");
        assert_eq!(format!("{secret} {secret:?}"), "amqp://a:***@one amqp://a:***@one");
        assert_eq!(secret.expose(), "amqp://a:b@one");
    }
}
