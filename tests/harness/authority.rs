//! A certificate authority for tests.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority that is trusted only where a test configures it. Its files live as long as the
/// value.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority.
    ///
    /// # Panics
    /// Panics if the machine has no room for its files.
    pub fn new() -> Self {
        let mut params = named("an authority of tests", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        // Servers in a root of their own can read this folder.
        let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
        write(&folder.path().join("ca.pem"), &issuer.pem());
        Self { issuer, folder }
    }

    /// Returns the path of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for a server with these names, or for a client. A second certificate
    /// with the same `file` replaces the first.
    ///
    /// # Panics
    /// Panics if the machine has no room for its files.
    pub fn sign(&self, file: &str, names: &[&str]) -> Issued {
        self.sign_params(file, &named(file, names))
    }

    /// Signs a certificate that expired long ago.
    ///
    /// # Panics
    /// Panics if the machine has no room for its files.
    pub fn sign_expired(&self, file: &str, names: &[&str]) -> Issued {
        let mut params = named(file, names);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        self.sign_params(file, &params)
    }

    fn sign_params(&self, file: &str, params: &CertificateParams) -> Issued {
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |kind: &str| self.folder.path().join(format!("{file}.{kind}.pem"));
        let issued = Issued { certificate: path("certificate"), key: path("key") };
        write(&issued.certificate, &certificate.pem());
        write(&issued.key, &key.serialize_pem());
        issued
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn named(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file of the test");
}
