//! A broker and a Postgres that use TLS, with programs that trust them and others.

use std::path::Path;
use std::time::Duration;

use celeriac_servers::{PostgresNode, PostgresSpec, RabbitNode, RabbitSpec, RabbitTls};
use celeriac_tests::authority::Issued;
use celeriac_tests::wire::{Properties, Property, Wire, long, nested_header, text_header};
use celeriac_tests::{Authority, Program, eventually};

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
    // What lapin cannot parse is filtered behind TLS.
    let headers =
        [text_header(b"task", b"test.note"), text_header(b"id", b"t-2"), nested_header(b"deep", 20_000, false)];
    let properties = Properties::from([(Property::Headers, long(&headers.concat()))]);
    Wire::connect(&node.url()).await.put("", b"celeriac", &properties, b"[[1],{},{}]").await;
    worker.says("header `deep` is nested more than 64 levels deep").await;
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

/// Asks a database for a task. 65 is its answer: there is no such task.
async fn ask(database: &str) -> (i32, String) {
    let variables =
        [("CELERIAC__BROKER__URL", "memory://".to_owned()), ("CELERIAC__RESULTS__URL", database.to_owned())];
    let mut program = Program::start(&["result", "nobody"], &variables);
    let code = program.exit_code(Duration::from_secs(60)).await;
    (code, program.rest().await)
}

#[tokio::test]
async fn a_postgres_on_another_host_has_to_be_trusted_unless_the_url_says_otherwise() {
    let node = PostgresSpec::default().start().unwrap();
    let local = node.url();
    // Leads to the same server, and is no address of the loopback interface.
    let distant = local.replace("127.0.0.1", "0.0.0.0");
    let certificate = node.certificate().display().to_string();
    let known = format!("{distant}?sslrootcert={certificate}");

    for url in [&distant, &format!("{local}?sslmode=verify-full")] {
        let (code, said) = ask(url).await;
        assert_eq!(code, 77, "{url}: {said}");
        assert!(said.contains("no TLS connection to postgres://postgres@") && said.contains("certificate"), "{said}");
        assert!(said.contains("help: ") && said.contains("sslrootcert=") && said.contains("sslmode"), "{said}");
    }
    for url in [&local, &known, &format!("{distant}?sslmode=require"), &format!("{distant}?sslmode=disable")] {
        let (code, said) = ask(url).await;
        assert_eq!(code, 65, "{url}: {said}");
    }

    // Awaiting a result, and the relay, connect in their own way.
    let variables = [("CELERIAC__BROKER__URL", "memory://".to_owned()), ("CELERIAC__RESULTS__URL", known)];
    let mut worker = Program::start(&["worker"], &variables);
    worker.says("ready").await;
    let encrypted = "SELECT bool_and(ssl), count(*) > 1 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'celeriac'";
    let sessions = || node.sql(encrypted).unwrap();
    eventually("several sessions, all of them encrypted", async || sessions(), |found| found == "t|t").await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}

#[tokio::test]
async fn a_postgres_on_another_host_without_tls_is_not_used_unless_the_url_says_so() {
    let settings = vec!["ssl=off".to_owned()];
    let node: PostgresNode = PostgresSpec { settings, ..PostgresSpec::default() }.start().unwrap();
    let distant = node.url().replace("127.0.0.1", "0.0.0.0");
    let (code, said) = ask(&distant).await;
    assert_eq!(code, 77, "{said}");
    assert!(said.contains("server does not support TLS") && said.contains("sslmode"), "{said}");
    for url in [format!("{distant}?sslmode=disable"), format!("{distant}?sslmode=prefer"), node.url()] {
        let (code, said) = ask(&url).await;
        assert_eq!(code, 65, "{url}: {said}");
    }
}
