//! A sender is slow to send under an idempotency key, and others send under the same key.

use celeriac::prelude::*;
use celeriac::{sqlx, tasks};
use celeriac_broker::{BrokerHealth, Error as BrokerError};
use celeriac_client::{ClientErrorKind, Error};
use celeriac_servers::RabbitNode;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Peer};

use crate::ledger::note;

/// Returns true if the claim of the key was renewed this long after it was made.
async fn is_held_for(bed: &Bed, seconds: f64) -> bool {
    let held = "SELECT bool_and(NOT sent AND claimed_at > created_at + $1 * interval '1 second')
        FROM celeriac.idempotency";
    let held = sqlx::query_scalar::<_, Option<bool>>(held).bind(seconds);
    held.fetch_one(&mut bed.database().await).await.unwrap().unwrap_or(false)
}

#[celeriac_tests::test(real)]
async fn a_key_is_its_senders_for_as_long_as_the_broker_makes_it_wait(bed: Bed) {
    let node = RabbitNode::start().unwrap();
    let program = |patience: &str| {
        let program = bed.program(tasks![note]).set("broker.url", node.url());
        program.set("broker.publish_timeout", patience)
    };
    let first = bed.client(program("120s")).await;
    let second = bed.client(program("120s")).await;
    let peer = Peer::connect(&node.url()).await;
    let charge = async |client: &Client| note(17).idempotency_key("order-17").submit(client).await;
    first.submit(note(0)).await.unwrap();

    node.ctl(&["set_vm_memory_high_watermark", "0"]).unwrap();
    let health = first.broker().health();
    let impatient = bed.client(program("1s")).await;
    let blocked = async || {
        let sent = impatient.submit(note(1)).await;
        matches!(sent, Err(Error::Send { source: BrokerError::Blocked { .. }, .. }))
    };
    eventually("the broker takes nothing", blocked, |blocked| *blocked).await;

    let second_is_refused = async {
        eventually("the key is claimed", async || is_held_for(&bed, 0.0).await, |held| *held).await;
        let refused = charge(&second).await.unwrap_err();
        assert!(matches!(refused, Error::KeyClaimed { .. }), "{refused}");
        assert!(matches!(refused.kind(), ClientErrorKind::NotSent(_)) && refused.may_have_been_sent(), "{refused}");
        assert!(is_held_for(&bed, 10.0).await, "the claim is renewed while its sender waits");
        assert!(matches!(*health.borrow(), BrokerHealth::Blocked { .. }), "the alarm stands");
        // The default of RabbitMQ 3.10.
        node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    };
    let (sent, ()) = tokio::join!(charge(&first), second_is_refused);
    let sent = sent.unwrap();
    let again = charge(&second).await.unwrap();
    assert_eq!(again.id(), sent.id());
    let copies = peer.take_all("celeriac").await;
    let copies: Vec<_> = copies.iter().filter(|found| found.header("id").as_deref() == Some(sent.id())).collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert!(copies[0].has_header("celeriac-repeated"), "a copy by a sender that took over would find its row");
    first.close().await;
    second.close().await;
    impatient.close().await;
}
