//! The headers `CC` and `BCC`, which ask RabbitMQ for copies and have to be lists of texts.

use celeriac_tests::{Bed, Peer, eventually};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value as Json, json};

use crate::stage::{Stage, see};

const COPIES: [&str; 2] = ["CC", "BCC"];

#[celeriac_tests::test(real)]
async fn rabbitmq_refuses_copies_that_are_a_text_and_closes_the_channel(bed: Bed) {
    for name in COPIES {
        let peer = Peer::connect(&bed.amqp_url()).await;
        peer.declare("somewhere").await;
        let mut headers = FieldTable::default();
        headers.insert(name.into(), AMQPValue::LongString("elsewhere".into()));
        let properties = BasicProperties::default().with_headers(headers);
        let options = BasicPublishOptions::default();
        let channel = peer.channel();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let sent = channel.basic_publish("".into(), "somewhere".into(), options, b"{}", properties).await;
        let confirmed = match sent {
            Ok(confirm) => confirm.await.map(drop),
            Err(error) => Err(error),
        };
        let error = confirmed.unwrap_err().to_string();
        assert!(error.contains("PRECONDITION_FAILED") || error.contains("PRECONDITION-FAILED"), "{error}");
        assert!(error.contains("unacceptable_type_in_header"), "{error}");
    }
}

#[celeriac_tests::test(real)]
async fn copies_that_are_a_text_are_an_error_for_the_sender_and_hold_nothing_up(bed: Bed) {
    let stage = Stage::start(&bed).await;
    for name in COPIES {
        let sent = see(json!("bad"), Json::Null).header(name, "elsewhere").submit(stage.client()).await;
        let error = sent.unwrap_err();
        assert!(!error.may_have_been_sent(), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }

    // The outbox takes them, and the relay keeps them there with the reason.
    let mut database = bed.database().await;
    for name in COPIES {
        let call = see(json!("bad"), Json::Null).task_id(name).header(name, "elsewhere");
        stage.client().submit_in(&mut database, call).await.unwrap();
    }
    let good = stage.client().submit_in(&mut database, see(json!("good"), Json::Null)).await.unwrap();
    assert_eq!(good.get().await.unwrap(), json!("good"));
    let failing = "SELECT count(*) FROM celeriac.outbox WHERE attempts > 0 AND error LIKE '%header ' || id || '%'";
    let mut told = async || sqlx::query_scalar::<_, i64>(failing).fetch_one(&mut database).await.unwrap();
    eventually("their reasons are told", &mut told, |failing| *failing == 2).await;
    assert_eq!(stage.finish().await.len(), 1);
}
