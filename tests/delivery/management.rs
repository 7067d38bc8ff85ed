//! RabbitMQ's own view, over its HTTP API.

use celeriac_broker::management::{Management, PolicyFacts};
use celeriac_broker::topology::{Argument, Place};
use celeriac_broker::{BrokerOptions, Topology, connect, management};
use celeriac_config::Secret;
use celeriac_servers::MANAGEMENT_URL;
use celeriac_tests::Bed;

/// A client for the virtual host of a test.
pub(crate) fn of(bed: &Bed) -> Management {
    management(&options(bed)).unwrap()
}

pub(crate) fn options(bed: &Bed) -> BrokerOptions {
    let api = celeriac_config::Environment::from_process().get(MANAGEMENT_URL).map(Secret::new);
    BrokerOptions { url: bed.amqp_url().into(), management: api, ..BrokerOptions::default() }
}

#[tokio::test]
async fn queues_exchanges_bindings_and_policies_are_seen_and_changed() {
    let bed = Bed::new().await;
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
    let mine = bindings.iter().find(|binding| binding.destination == Place::Queue("mail".to_owned())).unwrap();
    assert!(mine.key.ends_with(".mail"), "{mine:?}");

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
    bed.clear().await;
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_an_error_only_where_somebody_said_it_would() {
    let guessed = BrokerOptions { url: "amqp://u:secret@nowhere.invalid/v".into(), ..BrokerOptions::default() };
    assert_eq!(management(&guessed).unwrap().overview().await.unwrap(), None);
    let said = BrokerOptions { management: Some("http://u:secret@nowhere.invalid:80".into()), ..guessed };
    let error = management(&said).unwrap().overview().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot look at the broker over the management API at http://u:***@nowhere.invalid/");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_user_without_rights_is_told_so() {
    let bed = Bed::new().await;
    let options = options(&bed);
    let url = options.management.as_ref().unwrap().expose().replace("guest:guest@", "guest:wrong@");
    let refused = BrokerOptions { management: Some(url.into()), ..options };
    let error = management(&refused).unwrap().overview().await.unwrap_err();
    assert!(matches!(error, celeriac_broker::Error::Denied { .. }), "{error:?}");
    bed.clear().await;
}
