//! Reasons why broker and program do not trust each other.

use std::fmt;

/// A fault between a program and a broker that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFault {
    /// No trusted authority has signed the broker's certificate.
    UnknownAuthority,
    /// The broker's certificate is for other names.
    WrongName {
        /// The names, if they could be read.
        names: Vec<String>,
    },
    /// The broker's certificate has expired, or is not valid yet.
    NotInForce,
    /// The broker requires a certificate, and none is configured.
    CertificateWanted,
    /// The broker rejects the certificate of this program.
    CertificateRefused {
        /// The broker's reply.
        reason: String,
    },
    /// The peer does not speak TLS.
    NotSpoken,
    /// Any other fault of TLS with the broker.
    Other {
        /// The reason.
        reason: String,
    },
}

impl TlsFault {
    /// Returns a remedy for a person.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "set broker.tls.cacertfile to the certificate of the authority that signed the broker's certificate"
            }
            Self::WrongName { .. } => "use a name in broker.url that the broker's certificate is for",
            Self::NotInForce => "renew the broker's certificate, or correct the clocks of both machines",
            Self::CertificateWanted => "set broker.tls.certfile and broker.tls.keyfile",
            Self::CertificateRefused { .. } => {
                "set broker.tls.certfile to a valid certificate that an authority of the broker has signed"
            }
            Self::NotSpoken => "use the broker's TLS port, usually 5671, or amqp:// if it has none",
            Self::Other { .. } => "read the broker's log, and check its `ssl_options`",
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownAuthority => {
                write!(formatter, "its certificate is signed by an unknown authority")
            }
            Self::WrongName { names } if names.is_empty() => write!(formatter, "its certificate is for another name"),
            Self::WrongName { names } => write!(formatter, "its certificate is for {}", names.join(", ")),
            Self::NotInForce => write!(formatter, "its certificate has expired, or is not valid yet"),
            Self::CertificateWanted => write!(formatter, "it asks for a client certificate, and none is configured"),
            Self::CertificateRefused { reason } => {
                write!(formatter, "it refuses the certificate of this program: {reason}")
            }
            Self::NotSpoken => write!(formatter, "the server does not speak TLS"),
            Self::Other { reason } => write!(formatter, "{reason}"),
        }
    }
}
