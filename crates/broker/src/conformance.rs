//! The suite that every broker passes: RabbitMQ, and the broker in this process.
//!
//! Test code, compiled only with the feature `conformance`.
//! [`for_each_broker_case!`](crate::for_each_broker_case) makes a test of each case:
//!
//! ```ignore
//! macro_rules! tests {
//!     ($($case:ident)*) => { $(
//!         #[tokio::test]
//!         async fn $case() {
//!             celeriac_broker::conformance::run(stringify!($case), broker().await, "unique-name").await;
//!         }
//!     )* };
//! }
//! celeriac_broker::for_each_broker_case!(tests);
//! ```
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test aid: panicking is how a case fails")]

mod bounds;
mod browsing;
mod consuming;
mod dead_letters;
mod declaring;
mod delays;
mod messages;
mod replies;
mod routing;
mod settling;
mod stage;
mod transient;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use bounds::*;
use browsing::*;
use consuming::*;
use dead_letters::*;
use declaring::*;
use delays::*;
use messages::*;
use replies::*;
use routing::*;
use settling::*;
use stage::Stage;
use transient::*;

/// Longest time that a case may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Passes the names of all cases to a macro.
#[macro_export]
macro_rules! for_each_broker_case {
    ($tests:ident) => {
        $tests! {
            headers_and_properties_arrive_as_they_were_sent
            an_empty_body_arrives
            a_large_body_arrives_whole
            large_headers_arrive_whole
            headers_that_are_too_large_are_an_error_that_names_the_largest
            the_default_exchange_knows_queues_by_name
            a_direct_exchange_compares_keys
            a_topic_exchange_matches_words
            a_fanout_exchange_fills_every_queue
            a_headers_exchange_compares_headers
            exchanges_fill_exchanges_and_an_alternate_takes_the_rest
            a_broadcast_reaches_every_queue_that_is_bound_to_it_also_after_a_delay
            a_full_queue_refuses_or_gives_way
            a_message_older_than_its_queue_allows_is_dead_lettered
            a_single_active_consumer_is_followed_by_the_next
            a_queue_is_looked_at_without_touching_it
            a_message_for_no_queue_is_an_error
            a_message_for_no_exchange_is_an_error
            a_confirmed_message_is_queued
            many_publishers_at_once_lose_nothing
            messages_beyond_the_prefetch_are_left_to_others
            two_consumers_share_a_queue
            a_consumer_of_a_missing_queue_is_an_error
            a_raised_prefetch_brings_what_waited
            a_lowered_prefetch_leaves_the_rest_to_others
            a_consumer_that_stops_while_it_changes_loses_nothing
            a_stopped_consumer_ends_after_what_has_arrived
            a_closing_consumer_waits_for_settlements
            deliveries_that_a_closed_consumer_did_not_take_are_requeued
            deliveries_that_a_dropped_consumer_did_not_settle_are_requeued
            an_acknowledged_message_is_gone
            a_requeued_message_is_marked_as_redelivered
            higher_priorities_come_first
            a_rejected_message_is_dead_lettered
            an_expired_message_is_dead_lettered
            a_dead_letter_stays_however_often_it_is_browsed
            a_delayed_message_arrives_at_its_time
            delays_do_not_wait_for_each_other
            a_queue_for_replies_takes_what_is_sent_to_its_name
            a_reply_that_is_requeued_comes_again
            a_reply_that_is_rejected_is_gone
            a_queue_for_replies_goes_with_its_consumer
            a_closed_broker_takes_no_replies
            a_name_that_is_taken_is_refused_for_replies
            a_transient_queue_takes_what_its_exchange_gets
            a_transient_queue_goes_with_its_consumer
            browsing_changes_nothing
            browsing_that_ends_early_returns_all_messages
            a_dropped_browser_returns_all_messages
            removed_messages_are_gone_and_the_rest_keeps_its_order
            browsing_ends_at_the_tail_of_its_start
            browsing_ends_although_a_consumer_takes_messages
            browsing_large_messages_holds_few_of_them
            browsing_a_missing_queue_is_an_error
            an_existing_object_can_be_declared_again
            a_queue_of_another_kind_is_a_mismatch
            an_exchange_of_another_kind_is_a_mismatch
            a_closed_broker_takes_nothing
        }
    };
}

/// Runs one case and closes the broker.
///
/// The broker has default options apart from its URL. All names of the case begin with `namespace`,
/// which must be unique to this run.
///
/// # Panics
/// Panics if the broker breaks its contract, or takes too long.
pub async fn run(case: &str, broker: Arc<dyn Broker>, namespace: &str) {
    let stage = Stage::new(Arc::clone(&broker), namespace);
    macro_rules! choose {
        ($($name:ident)*) => {
            match case {
                $(stringify!($name) => tokio::time::timeout(DEADLINE, Box::pin($name(&stage))).await,)*
                unknown => panic!("there is no case `{unknown}`"),
            }
        };
    }
    let ended = for_each_broker_case!(choose);
    assert!(ended.is_ok(), "`{case}` did not end within {DEADLINE:?}");
    assert!(
        tokio::time::timeout(DEADLINE, broker.close()).await.is_ok(),
        "the broker did not close within {DEADLINE:?}"
    );
}
