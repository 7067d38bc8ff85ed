//! Tests of mistakes in the TLS settings, and of faults between program and broker.

use celeriac_config::Secret;
use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Returns a folder with a certificate and its key, another key, and a text file.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("certificate.pem", &certificate.pem());
    write("key.pem", &key.serialize_pem());
    write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
    write("text.pem", "no certificate at all");
    write("cut.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    folder
}

fn found(url: &str, [ca, certificate, key]: [&str; 3]) -> Vec<(String, String)> {
    let folder = folder();
    let path = |name: &str| (!name.is_empty()).then(|| folder.path().join(name));
    let tls = TlsOptions { cacertfile: path(ca), certfile: path(certificate), keyfile: path(key) };
    problems(&BrokerOptions { url: Secret::new(url), tls, ..BrokerOptions::default() })
}

#[test]
fn every_mistake_is_told_with_its_key() {
    const CA: &str = "certificate.pem";
    let cases = [
        (["nothing.pem", "", ""], "tls.cacertfile", "cannot be read"),
        (["text.pem", "", ""], "tls.cacertfile", "holds no certificate"),
        (["cut.pem", "", ""], "tls.cacertfile", "is damaged"),
        ([CA, "key.pem", "key.pem"], "tls.certfile", "holds no certificate"),
        ([CA, "certificate.pem", ""], "tls.keyfile", "is required"),
        ([CA, "", "key.pem"], "tls.certfile", "is required"),
        ([CA, "certificate.pem", "certificate.pem"], "tls.keyfile", "holds no private key"),
        ([CA, "certificate.pem", "other.pem"], "tls.keyfile", "does not fit broker.tls.certfile"),
    ];
    for (files, key, part) in cases {
        let found = found("amqps://localhost", files);
        assert_eq!(found.len(), 1, "{files:?}: {found:?}");
        assert!(found[0].0 == key && found[0].1.contains(part), "{files:?}: {found:?}");
    }
    assert_eq!(found("amqps://a,amqps://b", [CA, "certificate.pem", "key.pem"]), []);
}

#[test]
fn tls_for_a_url_without_it_is_a_mistake() {
    for url in ["amqp://u:secret@a", "amqps://b,amqp://u:secret@a"] {
        let found = found(url, ["certificate.pem", "", ""]);
        let reason = "needs amqps:// URLs, found `amqp://u:***@a`".to_owned();
        assert_eq!(found, [("tls".to_owned(), reason)], "{url}");
    }
    assert_eq!(found("amqp://a", ["", "", ""]), []);
}

#[test]
fn tls_faults_are_distinguished() {
    let of = |error: rustls::Error| fault(&std::io::Error::new(std::io::ErrorKind::InvalidData, error).into());
    assert_eq!(of(CertificateError::UnknownIssuer.into()), Some(TlsFault::UnknownAuthority));
    assert_eq!(of(CertificateError::Expired.into()), Some(TlsFault::NotInForce));
    let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(of(alert), Some(TlsFault::CertificateWanted));
    let unknown = of(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
    assert_eq!(unknown, Some(TlsFault::CertificateRefused { reason: "UnknownCA".to_owned() }));
    assert_eq!(fault(&std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()), None);
}
