//! Tests of the API over TLS: its certificate is verified, by its name and by the authority of
//! `broker.tls.cacertfile`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use celeriac_broker::{BrokerOptions, TlsOptions};
use celeriac_config::Secret;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Management, management};
use crate::error::Error;

/// An authority of this test, with its certificate as a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// An API with a certificate of this name, that answers one request with its version. Returns
    /// its port.
    fn serve(&self, name: &str) -> u16 {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (taken, _) = listener.accept().unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), taken);
            // A client that does not trust the certificate closes the connection here.
            if stream.read(&mut [0; 4096]).is_ok() {
                let body = r#"{"rabbitmq_version": "4.0.5"}"#;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes());
                let _ = stream.flush();
            }
        });
        port
    }
}

fn api(url: &str, ca: Option<PathBuf>) -> Management {
    let options = BrokerOptions {
        url: Secret::new("amqp://host/v"),
        management_url: Some(Secret::new(url)),
        tls: TlsOptions { cacertfile: ca, ..TlsOptions::default() },
        ..BrokerOptions::default()
    };
    assert_eq!(options.validate(), []);
    management(&options).unwrap()
}

#[tokio::test]
async fn an_api_with_a_certificate_of_the_authority_is_spoken_to() {
    let authority = Authority::new();
    let url = format!("https://me:secret@localhost:{}", authority.serve("localhost"));
    let overview = api(&url, Some(authority.file())).overview().await.unwrap().unwrap();
    assert_eq!(overview.version, "4.0.5");
}

#[tokio::test]
async fn an_api_is_refused_that_another_authority_signed_or_that_has_another_name() {
    let (authority, strange) = (Authority::new(), Authority::new());
    for (name, ca) in [("localhost", strange.file()), ("elsewhere.example", authority.file())] {
        let url = format!("https://me:secret@localhost:{}", authority.serve(name));
        let error = api(&url, Some(ca)).overview().await.unwrap_err();
        assert!(matches!(error, Error::Management { .. }), "{name}: {error:?}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn an_authority_that_is_no_certificate_is_the_error_of_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let options = BrokerOptions {
        url: Secret::new("amqp://host/v"),
        management_url: Some(Secret::new("https://localhost:1")),
        tls: TlsOptions { cacertfile: Some(folder.path().join("missing.pem")), ..TlsOptions::default() },
        ..BrokerOptions::default()
    };
    assert_eq!(options.validate()[0].0, "tls.cacertfile");
    assert!(management(&options).unwrap().overview().await.is_err());
}
