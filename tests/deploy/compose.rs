//! The compose file without an engine: what it names exists, and the program reads its variables.

use std::fs;
use std::process::Command;

use celeriac_servers::promtool;
use celeriac_tests::manifests::objects;
use celeriac_tests::program;
use serde_json::Value;
use tempfile::TempDir;

use crate::deploy;
use crate::kubernetes::run;

const FILE: &str = "compose.yaml";

/// Ports at which the images listen, by service.
const PORTS: [(&str, &[&str]); 6] = [
    ("rabbitmq", &["5672", "15672", "15692"]),
    ("postgres", &["5432"]),
    ("worker", &["9464"]),
    ("jaeger", &["4318", "16686"]),
    ("prometheus", &["9090"]),
    ("grafana", &["3000"]),
];

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Returns `true` if `address` begins with a service and a port at which it listens.
fn is_reachable(address: &str) -> bool {
    let (host, rest) = address.split_once(':').unwrap_or((address, ""));
    let port = rest.split('/').next().unwrap_or_default();
    host == "host.docker.internal" || PORTS.iter().any(|(name, ports)| *name == host && ports.contains(&port))
}

/// Returns the addresses in a text: what follows `://`, without a user.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split("://").skip(1).map(|rest| {
        let address = rest.split([' ', '\n', '"', '?']).next().unwrap_or_default();
        address.split_once('@').map_or(address, |(_, host)| host)
    })
}

/// Returns everything in a compose file that names nothing.
fn offences(file: &str) -> Vec<String> {
    let mut offences = Vec::new();
    let file = objects(file).remove(0);
    let services = file["services"].as_object().unwrap();
    let expected: Vec<_> = PORTS.iter().map(|(name, _)| *name).collect();
    let mut there: Vec<_> = services.keys().map(String::as_str).collect();
    there.sort_by_key(|name| expected.iter().position(|expected| expected == name));
    if there != expected {
        offences.push(format!("services {there:?}"));
    }
    for (name, service) in services {
        let mut offence = |what: &str| offences.push(format!("{name}: {what}"));
        let (_, tag) = service["image"].as_str().unwrap().split_once(':').unwrap_or_default();
        if tag.is_empty() || tag == "latest" {
            offence("an image without a version");
        }
        for port in list(&service["ports"]) {
            let inside = port.rsplit(':').next().unwrap_or_default();
            if !port.starts_with("127.0.0.1:${CELERIAC_") || !is_reachable(&format!("{name}:{inside}")) {
                offence(port);
            }
        }
        for volume in list(&service["volumes"]) {
            let source = volume.split(':').next().unwrap_or_default();
            let is_there = match source.starts_with('.') {
                true => deploy(source).exists() && volume.ends_with(":ro"),
                false => file["volumes"].get(source).is_some(),
            };
            if !is_there {
                offence(volume);
            }
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            if how["condition"] != "service_healthy" || services.get(other).is_none_or(|of| of["healthcheck"].is_null())
            {
                offence(&format!("depends on {other}"));
            }
        }
    }
    offences.extend(of_worker(&services["worker"]));
    offences
}

/// Returns what is wrong with the worker, whose image is the one of deploy/image.
fn of_worker(worker: &Value) -> Vec<String> {
    let mut offences = Vec::new();
    let build = &worker["build"];
    let context = deploy(build["context"].as_str().unwrap_or_default());
    let dockerfile = fs::read_to_string(context.join(build["dockerfile"].as_str().unwrap_or_default()));
    let arguments = build["args"].as_object().into_iter().flatten();
    for (argument, _) in arguments {
        if !dockerfile.as_ref().is_ok_and(|text| text.contains(&format!("\nARG {argument}="))) {
            offences.push(format!("no argument {argument} in the Dockerfile"));
        }
    }
    let folder = worker["working_dir"].as_str().unwrap_or_default();
    let Some(mounted) = list(&worker["volumes"]).find_map(|volume| {
        let (source, target) = volume.strip_suffix(":ro")?.split_once(':')?;
        (target == format!("{folder}/config")).then_some(source)
    }) else {
        offences.push("the folder of the configuration is not mounted".to_owned());
        return offences;
    };
    let variables: Vec<_> = worker["environment"].as_object().unwrap().iter().collect();
    for (name, value) in &variables {
        let value = value.as_str().unwrap();
        let unreachable = addresses(value).filter(|address| !is_reachable(address));
        offences.extend(unreachable.map(|address| format!("{name}: {address}")));
    }
    let program = || {
        let mut command = Command::new(program::path());
        command.env_clear().envs(variables.iter().map(|(name, value)| (name, value.as_str().unwrap())));
        command
    };
    let check = run(program().args(["config", "check", "--config"]).arg(deploy(mounted)));
    // Every flag is read before the help is printed.
    let flags = run(program().args(list(&worker["command"])).arg("--help"));
    offences.extend([check, flags].into_iter().filter(|(succeeds, _)| !succeeds).map(|(_, said)| said));
    offences
}

#[test]
fn everything_that_the_compose_file_names_exists() {
    assert_eq!(offences(&text(FILE)), Vec::<String>::new());
}

#[test]
fn a_planted_mistake_in_the_compose_file_is_found() {
    let text = text(FILE);
    let mistakes = [
        ("image: jaegertracing/jaeger:2.11.0", "image: jaegertracing/jaeger"),
        (":-4318}:4318", ":-4318}:4319"),
        ("127.0.0.1:${CELERIAC_AMQP_PORT", "${CELERIAC_AMQP_PORT"),
        ("./prometheus/prometheus.yml", "./prometheus/prometheus.yaml"),
        ("../config:/app/config", "../configuration:/app/config"),
        ("/app/config:ro", "/etc/config:ro"),
        ("      - rabbitmq:/var/lib/rabbitmq", "      - rabbit:/var/lib/rabbitmq"),
        ("condition: service_healthy", "condition: service_started"),
        ("@rabbitmq:5672", "@rabbit:5672"),
        ("@postgres:5432", "@postgres:5433"),
        ("CELERIAC__TELEMETRY__LISTEN", "CELERIAC__TELEMETRY__LISTENS"),
        ("command: [worker]", "command: [work]"),
        ("        BIN:", "        BINARY:"),
        ("  jaeger:\n", "  tracing:\n"),
    ];
    for (right, wrong) in mistakes {
        let planted = text.replacen(right, wrong, 1);
        assert_ne!(planted, text, "{right}");
        assert!(!offences(&planted).is_empty(), "{wrong}");
    }
}

#[test]
fn prometheus_and_grafana_of_the_compose_file_read_its_services() {
    let sources = objects(&text("grafana/provisioning/datasources/prometheus.yaml")).remove(0);
    let urls = sources["datasources"].as_array().unwrap().iter().map(|source| source["url"].as_str().unwrap());
    assert!(urls.clone().count() == 2 && urls.clone().all(|url| addresses(url).all(is_reachable)), "{sources}");

    let prometheus = text("prometheus/prometheus.yml");
    let jobs = objects(&prometheus).remove(0);
    for job in jobs["scrape_configs"].as_array().unwrap() {
        for target in list(&job["static_configs"][0]["targets"]) {
            assert!(is_reachable(target), "{target}");
        }
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("prometheus.yml");
    let rules = deploy("alerts").canonicalize().unwrap();
    fs::write(&file, prometheus.replace("/etc/prometheus", &rules.display().to_string())).unwrap();
    let (succeeds, said) = run(Command::new(promtool().unwrap()).args(["check", "config"]).arg(&file));
    assert!(succeeds, "{said}");
}
