//! A broker that uses TLS and requires a certificate, with programs that match it and others.

use std::path::Path;
use std::time::Duration;

use celeriac_servers::{RabbitNode, RabbitSpec, RabbitTls};
use celeriac_tests::authority::Issued;
use celeriac_tests::{Authority, Program};

/// Returns a node with a certificate for `localhost`, and its authority.
fn node() -> (RabbitNode, Authority) {
    let authority = Authority::new();
    let Issued { certificate, key } = authority.sign("server", &["localhost"]);
    let tls = RabbitTls { ca: authority.certificate(), certificate, key };
    (RabbitSpec { tls: Some(tls), ..RabbitSpec::default() }.start().unwrap(), authority)
}

/// Returns the TLS settings of a program for these nodes.
fn variables(url: &str, ca: Option<&Path>, own: Option<&Issued>) -> Vec<(&'static str, String)> {
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let mut variables = vec![("CELERIAC__BROKER__URL", url.to_owned()), ("CELERIAC__RESULTS__URL", "none".to_owned())];
    variables.extend(ca.map(|ca| ("CELERIAC__BROKER__TLS__CACERTFILE", shown(ca))));
    if let Some(Issued { certificate, key }) = own {
        variables.push(("CELERIAC__BROKER__TLS__CERTFILE", shown(certificate)));
        variables.push(("CELERIAC__BROKER__TLS__KEYFILE", shown(key)));
    }
    variables
}

fn url(host: &str, port: u16) -> String {
    format!("amqps://guest:guest@{host}:{port}/%2f")
}

async fn call(variables: &[(&str, String)]) -> (i32, String) {
    let mut program = Program::start(&["call", "test.note", "-a", "[1]", "--id", "t-1"], variables);
    let code = program.exit_code(Duration::from_secs(60)).await;
    (code, program.rest().await)
}

#[tokio::test]
async fn tasks_go_over_tls_and_a_node_that_is_not_trusted_does_not_hide_one_that_is() {
    let (node, authority) = node();
    let own = authority.sign("client", &["client"]);
    // The certificate does not cover this address.
    let nodes = format!("{},{}", url("127.0.0.1", node.tls_port()), url("localhost", node.tls_port()));
    let variables = variables(&nodes, Some(&authority.certificate()), Some(&own));
    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &variables);
    worker.says("ready").await;
    let (code, said) = call(&variables).await;
    assert_eq!(code, 0, "{said}");
    worker.says("task succeeded task=test.note id=t-1").await;
    let encrypted = node.ctl(&["list_connections", "ssl"]).unwrap();
    assert!(encrypted.contains("true") && !encrypted.contains("false"), "{encrypted}");
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}

#[tokio::test]
async fn what_stands_between_the_two_is_said_and_ends_the_program() {
    let (node, authority) = node();
    let (good, ca) = (authority.sign("client", &["client"]), authority.certificate());
    let strange = Authority::new();
    let address = url("localhost", node.tls_port());
    let cases = [
        (
            variables(&address, Some(&strange.certificate()), Some(&good)),
            "its certificate is signed by an unknown authority",
        ),
        (variables(&address, None, Some(&good)), "its certificate is signed by an unknown authority"),
        (variables(&url("127.0.0.1", node.tls_port()), Some(&ca), Some(&good)), "its certificate is for"),
        (variables(&address, Some(&ca), None), "it asks for a client certificate, and none is configured"),
        (
            variables(&address, Some(&ca), Some(&strange.sign("client", &["client"]))),
            "it refuses the certificate of this program",
        ),
        (
            variables(&address, Some(&ca), Some(&authority.sign_expired("old", &["client"]))),
            "it refuses the certificate of this program",
        ),
        (variables(&url("localhost", node.port()), Some(&ca), Some(&good)), "does not speak TLS"),
    ];
    for (variables, part) in cases {
        for verb in [&["worker"][..], &["call", "test.note", "-a", "[1]"]] {
            let mut program = Program::start(verb, &variables);
            let code = program.exit_code(Duration::from_secs(60)).await;
            let said = program.rest().await;
            assert_eq!(code, 77, "{verb:?}: {said}");
            assert!(said.contains(part) && said.contains("help: "), "{part}: {said}");
            assert!(!said.contains("guest:guest"), "{said}");
        }
    }
}

#[tokio::test]
async fn an_expired_certificate_of_the_broker_is_not_taken_and_a_renewed_one_is() {
    let (node, authority) = node();
    let own = authority.sign("client", &["client"]);
    let variables = variables(&url("localhost", node.tls_port()), Some(&authority.certificate()), Some(&own));
    let reread = || node.ctl(&["eval", "ssl:clear_pem_cache()."]).unwrap();
    authority.sign_expired("server", &["localhost"]);
    reread();
    let (code, said) = call(&variables).await;
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("has expired, or is not valid yet"), "{said}");
    authority.sign("server", &["localhost"]);
    reread();
    let (code, said) = call(&variables).await;
    assert_eq!(code, 0, "{said}");
}
