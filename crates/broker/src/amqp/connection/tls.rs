//! TLS: the verification of the broker, the certificate of this program, and their faults.

use std::path::Path;

use lapin::ErrorKind;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError};

use super::nodes::BrokerNode;
use crate::error::{Error, Result, TlsFault};
use crate::options::{BrokerOptions, TlsOptions};

/// The TLS settings of connections. The broker's certificate and name are always verified.
///
/// The files are read for each connection, so a renewed file applies from the next connection on.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    options: TlsOptions,
}

/// A fault: the key below `broker.tls`, or none for the whole section, and the reason.
type Fault = (Option<&'static str>, String);

impl Tls {
    pub(crate) fn new(options: &TlsOptions) -> Self {
        Self { options: options.clone() }
    }

    /// Returns `true` if the configuration names files.
    pub(super) fn has_files(&self) -> bool {
        self.options != TlsOptions::default()
    }

    /// Returns a connector that starts TLS on a connection.
    pub(super) fn connector(&self) -> Result<RustlsConnector> {
        self.read().map_err(|(key, reason)| Error::Invalid { key: format!("broker.{}", full(key)), reason })
    }

    fn read(&self) -> Result<RustlsConnector, Fault> {
        let TlsOptions { cacertfile, certfile, keyfile } = &self.options;
        let roots = match cacertfile {
            Some(path) => {
                RustlsConnectorConfig::default().with_parsable_certificates(certificates("cacertfile", path)?)
            }
            None => RustlsConnectorConfig::new_with_native_certs().map_err(|error| {
                (Some("cacertfile"), format!("is needed, for this machine trusts no authority: {error}"))
            })?,
        };
        match (certfile, keyfile) {
            (None, None) => roots
                .connector_with_no_client_auth()
                .map_err(|error| (Some("cacertfile"), format!("cannot be used: {error}"))),
            (Some(certfile), Some(keyfile)) => {
                let chain = certificates("certfile", certfile)?;
                let unfit = |error| (Some("keyfile"), format!("does not fit broker.tls.certfile: {error}"));
                roots.connector_with_single_cert(chain, private_key(keyfile)?).map_err(unfit)
            }
            (Some(_), None) => Err((Some("keyfile"), "is required with certfile".to_owned())),
            (None, Some(_)) => Err((Some("certfile"), "is required with keyfile".to_owned())),
        }
    }
}

/// Lists the faults of the section that can be found without a connection.
pub(crate) fn problems(options: &BrokerOptions) -> Vec<(String, String)> {
    let Ok(nodes) = BrokerNode::all(options) else { return Vec::new() };
    let management = options.management_url.as_ref().is_some_and(|url| url.expose().starts_with("https://"));
    let fault = match nodes.iter().find(|node| !node.speaks_tls()) {
        Some(plain) if options.tls != TlsOptions::default() && !management => {
            Some((None, format!("needs amqps:// URLs, found `{}`", plain.shown())))
        }
        _ if management || nodes.iter().any(BrokerNode::speaks_tls) => Tls::new(&options.tls).read().err(),
        _ => None,
    };
    fault.map(|(key, reason)| (full(key), reason)).into_iter().collect()
}

fn full(key: Option<&str>) -> String {
    key.map_or_else(|| "tls".to_owned(), |key| format!("tls.{key}"))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents(key, path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err((Some(key), format!("`{}` holds no certificate in PEM form", path.display()))),
        Err(error) => Err((Some(key), format!("`{}` is damaged: {error}", path.display()))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(&contents("keyfile", path)?).map_err(|error| {
        let reason = format!("`{}` holds no private key in PEM form without a passphrase: {error}", path.display());
        (Some("keyfile"), reason)
    })
}

fn contents(key: &'static str, path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| (Some(key), format!("`{}` cannot be read: {error}", path.display())))
}

/// Returns the TLS fault in an error, if there is one. Another attempt would have the same fault.
pub(super) fn fault(error: &lapin::Error) -> Option<TlsFault> {
    let ErrorKind::IOError(error) = error.kind() else { return None };
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(error) => untrusted(error),
        rustls::Error::AlertReceived(alert) => refused(*alert),
        rustls::Error::InvalidMessage(_) => TlsFault::NotSpoken,
        other => TlsFault::Other { reason: other.to_string() },
    })
}

fn untrusted(error: &CertificateError) -> TlsFault {
    match error {
        // A bad signature means that another authority has the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownAuthority,
        CertificateError::NotValidForName => TlsFault::WrongName { names: Vec::new() },
        CertificateError::NotValidForNameContext { presented, .. } => TlsFault::WrongName { names: presented.clone() },
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsFault::NotInForce,
        other => TlsFault::Other { reason: format!("its certificate is not valid: {other}") },
    }
}

fn refused(alert: AlertDescription) -> TlsFault {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => TlsFault::CertificateWanted,
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => TlsFault::CertificateRefused { reason: format!("{alert:?}") },
        other => TlsFault::Other { reason: format!("it ended the handshake ({other:?})") },
    }
}

#[cfg(test)]
mod tests;
