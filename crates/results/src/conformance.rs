//! The suite that every store passes.
//!
//! Test code, compiled only with the feature `conformance`.
//! [`for_each_store_case!`](crate::for_each_store_case) makes a test of each case:
//!
//! ```ignore
//! macro_rules! tests {
//!     ($($case:ident)*) => { $(
//!         #[tokio::test]
//!         async fn $case() {
//!             celeriac_results::conformance::run(stringify!($case), store().await).await;
//!         }
//!     )* };
//! }
//! celeriac_results::for_each_store_case!(tests);
//! ```

mod attempts;
mod auditing;
mod batches;
mod crashes;
mod joining;
mod replacing;
mod revoking;
mod rows;
mod runs;
mod sending;
mod stage;
mod waiting;

use std::sync::Arc;

use self::{
    attempts::*, auditing::*, batches::*, crashes::*, joining::*, replacing::*, revoking::*, rows::*, runs::*,
    sending::*, waiting::*,
};
use crate::backend::Backend;

/// Passes the names of all cases to a macro.
#[macro_export]
macro_rules! for_each_store_case {
    ($tests:ident) => {
        $tests! {
            an_action_is_open_until_its_end
            every_field_survives
            a_state_of_a_tasks_own_ends_with_the_task
            missing_fields_stay_missing
            unicode_survives
            nul_and_half_surrogates_survive_in_documents
            nul_in_text_is_replaced
            an_id_may_be_any_text
            deep_documents_survive
            large_results_survive
            an_unknown_task_is_not_found
            a_forgotten_task_is_gone
            the_first_success_stays
            a_failure_gives_way_to_a_success_only
            an_ignored_end_stays
            a_replay_begins_anew_whatever_the_failure_before_it
            a_record_of_an_earlier_replay_changes_nothing
            a_replay_does_not_replace_a_success
            a_retry_gives_way_to_a_success
            an_older_attempt_changes_nothing
            a_state_never_goes_back_within_an_attempt
            a_sent_task_has_a_row_until_anything_is_known_of_it
            a_late_row_of_a_sent_task_turns_nothing_back
            only_sent_tasks_that_were_due_long_ago_are_swept
            values_stay_that_the_new_record_lacks
            the_same_outcome_again_counts_as_stored
            an_id_twice_in_a_call_is_written_twice
            a_thousand_records_in_one_call
            nothing_to_record_is_fine
            a_refused_record_does_not_affect_others
            writers_of_the_same_tasks_do_not_disturb_each_other
            only_old_ends_are_swept
            every_attempt_is_recorded
            an_attempt_that_is_written_again_stands_once
            the_attempts_of_a_replay_are_counted_anew
            a_task_that_has_not_run_has_no_attempt
            an_attempt_of_what_is_not_written_is_not_on_record
            attempts_go_with_their_task
            an_end_before_the_wait_is_told
            an_end_during_the_wait_is_told
            only_an_end_ends_the_wait
            two_waiters_are_told
            a_thousand_waiters_are_told
            a_cancelled_wait_does_not_affect_others
            a_revoked_task_never_starts
            only_a_termination_ends_a_running_task
            a_revocation_holds_for_the_longer_of_two_times_and_ends
            only_revocations_that_no_longer_hold_are_swept
            what_can_be_no_id_is_not_revoked
            a_suspect_begins_as_often_as_it_may
            another_attempt_starts_with_a_count_of_zero
            an_ended_attempt_has_no_record
            what_was_only_interrupted_is_not_counted
            five_hundred_suspects_at_once
            a_run_is_found_until_it_ends
            a_run_is_one_of_its_attempt_only
            a_run_whose_lease_has_ended_is_not_found_and_swept
            the_last_member_fires_the_join
            the_record_of_a_member_counts_its_end
            a_member_counts_once_however_often_it_arrives
            a_position_that_the_join_does_not_have_counts_nothing
            the_member_that_fired_is_told_so_again
            the_first_failed_member_in_order_is_found
            results_beyond_the_limit_are_not_read
            what_is_no_join_has_no_members
            a_join_that_was_given_up_does_not_fire
            only_joins_that_fired_long_ago_are_swept
            a_join_is_swept_in_pieces
            a_join_whose_sender_is_gone_ends_and_tells_how_many_were_sent
            a_join_whose_sender_is_at_work_stays_open
            a_join_fails_at_its_deadline_unless_it_is_decided
            the_policy_of_a_join_decides_when_it_fires_and_what_its_body_gets
        }
    };
}

/// Runs a case on a store, and closes the store. Cases on the same store prefix their ids with
/// their names.
///
/// # Panics
/// Panics if the case fails, or if there is no case of this name.
pub async fn run(case: &str, backend: Arc<dyn Backend>) {
    macro_rules! choose {
        ($($name:ident)*) => {
            match case {
                $(stringify!($name) => Box::pin($name(Arc::clone(&backend), case)).await,)*
                unknown => panic!("there is no case `{unknown}`"),
            }
        };
    }
    let passed = for_each_store_case!(choose);
    assert!(passed.is_ok(), "{case}: {passed:?}");
    backend.close().await;
}
