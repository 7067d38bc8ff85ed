//! A private RabbitMQ and Postgres are killed and restarted, and end with their owner.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use celeriac_servers::{Durability, PostgresNode, RabbitCluster, RabbitNode, RabbitRelease, RabbitSpec};

fn speaks_amqp(node: &RabbitNode) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", node.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    ask().is_ok_and(|first| first == 1)
}

fn is_gone(folder: &Path) -> bool {
    !folder.exists() || std::env::var_os("CELERIAC_TEST_KEEP").is_some()
}

#[test]
fn a_rabbitmq_node_comes_back_with_its_data_after_kill_and_stop() {
    let node = RabbitNode::start().unwrap();
    assert!(node.alive() && speaks_amqp(&node));
    assert!(node.management_url().is_some());
    let version = node.version().unwrap();
    assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
    let is_4 = RabbitRelease::chosen().unwrap() == RabbitRelease::V4;
    assert!(!is_4 || version.starts_with("4."), "4 was asked for, {version} runs");
    node.ctl(&["add_vhost", "kept"]).unwrap();

    node.kill().unwrap();
    assert!(!node.alive() && !speaks_amqp(&node));
    let unanswered = node.ctl(&["list_vhosts"]).unwrap_err().to_string();
    assert!(unanswered.contains(&node.name()), "{unanswered}");

    node.restart().unwrap();
    assert!(speaks_amqp(&node));
    assert!(node.ctl(&["list_vhosts"]).unwrap().contains("kept"));

    node.pause().unwrap();
    assert!(node.alive() && !speaks_amqp(&node));
    node.resume().unwrap();
    assert!(speaks_amqp(&node));

    node.stop().unwrap();
    assert!(!node.alive() && !speaks_amqp(&node));
    let folder = node.folder().to_owned();
    drop(node);
    assert!(is_gone(&folder));
}

#[test]
fn nodes_of_a_cluster_know_each_other_and_come_back_to_it() {
    let cluster = RabbitCluster::start(&RabbitSpec::default(), 2).unwrap();
    let [first, second] = cluster.nodes() else { panic!("not two nodes") };
    assert!(first.ctl(&["cluster_status"]).unwrap().contains(&second.name()));
    assert_eq!(cluster.url().split(',').count(), 2);

    cluster.kill(1).unwrap();
    assert!(speaks_amqp(first) && !speaks_amqp(second));
    cluster.restart(1).unwrap();
    assert!(speaks_amqp(second));
    assert!(second.ctl(&["list_queues"]).is_ok(), "a node that lost its cluster lists nothing");
    assert!(cluster.leader_of("mail").unwrap_err().to_string().contains("no queue `mail`"));
}

#[test]
fn a_postgres_server_comes_back_with_its_data_after_kill_and_stop() {
    let node = PostgresNode::start(Durability::Real).unwrap();
    assert!(node.alive());
    assert!(node.version().unwrap().starts_with(|first: char| first.is_ascii_digit()));
    assert_eq!(node.sql("show fsync").unwrap(), "on");
    assert!(node.create_database("kept").unwrap().ends_with("/kept"));

    node.kill().unwrap();
    assert!(!node.alive());
    node.sql("select 1").unwrap_err();
    node.restart().unwrap();
    assert_eq!(node.sql("select count(*) from pg_database where datname = 'kept'").unwrap(), "1");

    node.restart().unwrap();
    assert_eq!(node.sql("select 1").unwrap(), "1");

    node.stop().unwrap();
    assert!(!node.alive());
    let folder = node.folder().to_owned();
    drop(node);
    assert!(is_gone(&folder));
}

#[test]
fn a_paused_postgres_keeps_its_clients_waiting() {
    let node = PostgresNode::start(Durability::Fast).unwrap();
    assert_eq!(node.sql("show fsync").unwrap(), "off");
    node.pause().unwrap();
    assert!(node.alive());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.sql("select 42"));
        // Nothing shows that an answer will not come. An answer within this time would prove that
        // the server runs.
        let answered = celeriac_servers::until("an answer", Duration::from_millis(500), || {
            Ok(waiting.is_finished().then_some(()))
        });
        assert!(answered.is_err());
        node.resume().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), "42");
    });

    // Paused servers can be killed and dropped too.
    node.pause().unwrap();
    let folder = node.folder().to_owned();
    drop(node);
    assert!(is_gone(&folder));
}

#[test]
fn a_server_does_not_outlive_an_owner_who_is_killed() {
    const HOLD: &str = "CELERIAC_SERVERS_HOLD";
    if std::env::var_os(HOLD).is_some() {
        // The owner: this test once more, in a process that is killed.
        let node = PostgresNode::start(Durability::Fast).unwrap();
        println!("\nport {} {}", node.port(), node.folder().display());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }

    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_does_not_outlive_an_owner_who_is_killed", "--nocapture"])
        .env(HOLD, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = told.filter_map(|line| line.strip_prefix("port ").map(str::to_owned)).next().unwrap();
    let (port, folder) = told.split_once(' ').unwrap();
    let address = format!("127.0.0.1:{port}");
    assert!(TcpStream::connect(&address).is_ok());

    owner.kill().unwrap();
    owner.wait().unwrap();
    let folder = PathBuf::from(folder);
    celeriac_servers::until("the server to end with its owner", Duration::from_secs(20), || {
        Ok((is_gone(&folder) && TcpStream::connect(&address).is_err()).then_some(()))
    })
    .unwrap();
}
