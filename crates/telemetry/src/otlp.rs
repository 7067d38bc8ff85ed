//! The collector that options name, and the protocol of exports.

use std::collections::BTreeMap;
use std::path::Path;

use celeriac_config::Secret;
use serde::{Deserialize, Serialize};

/// Protocol of OTLP, by OpenTelemetry's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP. The usual port is 4318.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// gRPC. The usual port is 4317.
    #[serde(rename = "grpc")]
    Grpc,
}

/// The collector of the options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OtlpTarget<'a> {
    pub(crate) url: &'a str,
    pub(crate) protocol: OtlpProtocol,
    pub(crate) headers: &'a BTreeMap<String, Secret>,
    /// Trusted certificates, in place of those of the machine.
    pub(crate) cacertfile: Option<&'a Path>,
}
