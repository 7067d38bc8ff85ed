//! RabbitMQ's own view, over its HTTP API.

use celeriac_admin::management;
use celeriac_admin::management::Management;
use celeriac_broker::{BrokerOptions, connect};
use celeriac_config::Secret;
use celeriac_servers::MANAGEMENT_URL;
use celeriac_tests::Bed;
use celeriac_topology::{Argument, BindingTarget, PolicyFacts, Topology};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Returns a client for the virtual host of a test.
pub(crate) fn of(bed: &Bed) -> Management {
    management(&options(bed)).unwrap()
}

pub(crate) fn options(bed: &Bed) -> BrokerOptions {
    let api = celeriac_config::Environment::from_process().get(MANAGEMENT_URL).map(Secret::new);
    BrokerOptions { url: bed.amqp_url().into(), management_url: api, ..BrokerOptions::default() }
}

#[celeriac_tests::test(real)]
async fn queues_exchanges_bindings_and_policies_are_seen_and_changed(bed: Bed) {
    let api = of(&bed);
    let topology = Topology { queues: [("mail".to_owned(), Default::default())].into(), ..Topology::default() };
    let broker = connect(&options(&bed), "test").unwrap();
    broker.declare(&topology).await.unwrap();

    assert!(!api.overview().await.unwrap().unwrap().version.is_empty());
    let queues = api.queues().await.unwrap();
    let mail = queues.iter().find(|queue| queue.name == "mail").unwrap();
    assert_eq!((mail.kind.as_str(), mail.durable, mail.ready, mail.members.len()), ("quorum", true, 0, 1));
    assert_eq!(mail.arguments["x-delivery-limit"], Argument::Number(100));
    let exchanges = api.exchanges().await.unwrap();
    assert!(exchanges.iter().any(|exchange| exchange.name == "celery_delayed_delivery" && exchange.kind == "topic"));
    let bindings = api.bindings().await.unwrap();
    let mine = bindings.iter().find(|binding| binding.destination == BindingTarget::Queue("mail".to_owned())).unwrap();
    assert!(mine.routing_key.ends_with(".mail"), "{mine:?}");

    let definition = [("max-length".to_owned(), Argument::Number(7))].into();
    let policy = PolicyFacts {
        name: "celeriac.mail".to_owned(),
        pattern: "^mail$".to_owned(),
        apply_to: "queues".to_owned(),
        priority: 3,
        definition,
    };
    api.put_policy(&policy).await.unwrap();
    assert_eq!(api.policies().await.unwrap(), [policy]);
    api.delete_policy("celeriac.mail").await.unwrap();
    api.delete_binding(mine).await.unwrap();
    api.delete_queue(mail).await.unwrap();
    assert_eq!(api.policies().await.unwrap(), []);
    assert!(!api.queues().await.unwrap().iter().any(|queue| queue.name == "mail"));
    broker.close().await;
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_an_error_only_where_somebody_said_it_would() {
    let guessed = BrokerOptions { url: "amqp://u:secret@nowhere.invalid/v".into(), ..BrokerOptions::default() };
    assert_eq!(management(&guessed).unwrap().overview().await.unwrap(), None);
    let said = BrokerOptions { management_url: Some("http://u:secret@nowhere.invalid:80".into()), ..guessed };
    let error = management(&said).unwrap().overview().await.unwrap_err();
    let expected = "cannot get the overview over the management API at http://u:***@nowhere.invalid/: ";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[celeriac_tests::test(real)]
async fn a_user_without_rights_is_told_so(bed: Bed) {
    let options = options(&bed);
    let url = options.management_url.as_ref().unwrap().expose().replace("guest:guest@", "guest:wrong@");
    let refused = BrokerOptions { management_url: Some(url.into()), ..options };
    let error = management(&refused).unwrap().overview().await.unwrap_err();
    assert!(matches!(error, celeriac_admin::Error::Denied { .. }), "{error:?}");
}

/// Starts an API that answers every request with `head`, and then with `more` while the client
/// reads.
async fn answering(head: &'static [u8], more: &'static [u8]) -> (String, TaskTracker) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://u:secret@{}", listener.local_addr().unwrap());
    let tracker = TaskTracker::new();
    tracker.spawn(async move {
        let (mut taken, _) = listener.accept().await.unwrap();
        let _ = taken.read(&mut [0; 4096]).await;
        taken.write_all(head).await.unwrap();
        while !more.is_empty() && taken.write_all(more).await.is_ok() {}
    });
    (url, tracker)
}

#[tokio::test]
async fn an_answer_without_end_is_an_error() {
    let (url, _api) = answering(b"HTTP/1.1 200 OK\r\n\r\n", &[b' '; 1 << 20]).await;
    let options =
        BrokerOptions { url: "amqp://host/v".into(), management_url: Some(url.into()), ..BrokerOptions::default() };
    let error = management(&options).unwrap().overview().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the answer is longer than 64 MiB");
}

#[tokio::test]
async fn the_password_follows_no_redirection() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place: &'static str =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", other.local_addr().unwrap())
            .leak();
    let (url, _api) = answering(place.as_bytes(), b"").await;
    let options =
        BrokerOptions { url: "amqp://host/v".into(), management_url: Some(url.into()), ..BrokerOptions::default() };
    let error = management(&options).unwrap().overview().await.unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "302 Found");
}
