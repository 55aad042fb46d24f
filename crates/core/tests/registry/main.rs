//! The registry's promises, each by name, on every store: memory, a redb file, a real etcd; one node and two.

mod beats;
mod promises;

use promises::Stores;
use skyhound_store::embedded::Embedded;
use skyhound_store::etcd::{Etcd, EtcdSettings};
use skyhound_test_support::multi_thread_test;
use std::sync::Arc;

/// One test per promise.
macro_rules! promises {
    ($store:ident, $make:expr) => {
        mod $store {
            use super::*;
            promises!(@each promises $make;
                registered_means_this_node_answers_it,
                released_means_gone,
                a_removal_comes_with_its_reason,
                the_same_word_again_writes_nothing,
                the_last_claim_to_leave_removes,
                a_late_release_removes_nothing_newer,
                a_late_release_at_another_node_removes_nothing_newer,
                who_spoke_last_describes_the_entry,
                an_entry_that_was_removed_by_hand_comes_back,
                entries_of_a_lost_lease_come_back,
                what_comes_back_replaces_nothing_newer,
                a_claim_whose_entry_another_node_removed_puts_it_again,
                a_burst_is_written_in_group_commits,
                a_registration_that_is_given_up_leaves_nothing,
                an_update_keeps_the_key,
                a_planned_stop_keeps_what_was_left,
                after_a_stop_nobody_is_taken,
                a_twin_comes_and_goes_with_its_entry,
                a_twin_is_there_as_long_as_somebody_wants_it,
                a_burst_of_twins_at_one_address,
                a_twin_that_another_wrote_over_stays,
                a_twin_comes_back_with_its_entry,
                a_twin_moves_with_its_entry_to_another_node,
            );
            promises!(@each beats $make;
                who_beats_stays_and_who_falls_silent_expires,
                the_last_id_to_leave_removes,
                heartbeats_at_two_nodes_in_turn_keep_the_entry,
                any_node_deregisters,
                a_socket_here_outlives_an_id_that_was_taken_over,
                ids_outlive_a_planned_stop_and_a_long_downtime,
                an_id_is_taken_over_once_however_many_ask,
                while_the_store_is_away,
                what_is_no_id_asks_no_store,
            );
        }
    };
    (@each $promises:ident $make:expr; $($name:ident),* $(,)?) => {
        $(#[multi_thread_test]
        async fn $name() {
            let (stores, _kept) = $make.await;
            $promises::$name(stores).await;
        })*
    };
}

promises!(memory, async {
    let store: Arc<dyn skyhound_store::Store> = Arc::new(Embedded::in_memory().expect("a store in memory"));
    (Stores { one: Arc::clone(&store), two: store }, ())
});

promises!(disk, async {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn skyhound_store::Store> =
        Arc::new(Embedded::open(&dir.path().join("skyhound.redb")).expect("a store on disk"));
    (Stores { one: Arc::clone(&store), two: store }, dir)
});

promises!(etcd, async {
    let etcd = skyhound_test_support::etcd::EtcdProcess::start().await;
    let (one, two) = (connect(&etcd).await, connect(&etcd).await);
    (Stores { one, two }, etcd)
});

async fn connect(etcd: &skyhound_test_support::etcd::EtcdProcess) -> Arc<dyn skyhound_store::Store> {
    let settings = EtcdSettings { endpoints: vec![etcd.endpoint()], ..EtcdSettings::default() };
    Arc::new(Etcd::connect(settings).await.expect("settings that are right"))
}
