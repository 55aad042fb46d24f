//! The guarantees of the registry, each by name, on every store (memory, a redb file, a real etcd), with one node and
//! two.

mod heartbeats;
mod promises;

use promises::Stores;
use skyhound_store::embedded::Embedded;
use skyhound_store::etcd::{Etcd, EtcdSettings};
use skyhound_test_support::multi_thread_test;
use std::sync::Arc;

/// One test per guarantee.
macro_rules! guarantees {
    ($store:ident, $make:expr) => {
        mod $store {
            use super::*;
            guarantees!(@each promises $make;
                a_registered_instance_is_visible_at_once,
                a_released_entry_is_gone_at_once,
                a_removal_carries_its_reason,
                an_identical_registration_writes_nothing,
                the_last_released_claim_removes_the_entry,
                a_late_release_removes_nothing_newer,
                a_late_release_at_another_node_removes_nothing_newer,
                the_last_set_value_describes_the_entry,
                a_manually_removed_entry_is_put_again,
                entries_of_a_lost_lease_are_put_again,
                an_entry_put_again_replaces_nothing_newer,
                a_claim_puts_an_entry_again_that_another_node_removed,
                a_burst_is_written_in_group_commits,
                a_cancelled_registration_leaves_nothing,
                an_update_keeps_the_key,
                a_planned_stop_keeps_entries_left_to_their_lease,
                a_stopped_registry_rejects_registrations,
                a_mirror_is_put_and_removed_with_its_entry,
                a_mirror_stays_while_a_claim_wants_it,
                mirrors_of_a_burst_at_one_address_have_a_key_each,
                an_overwritten_mirror_is_not_removed,
                a_mirror_is_put_again_with_its_entry,
                a_mirror_moves_with_its_entry_to_another_node,
            );
            guarantees!(@each heartbeats $make;
                heartbeats_keep_an_entry_and_their_absence_expires_it,
                the_last_deregistered_id_removes_the_entry,
                heartbeats_at_two_nodes_in_turn_keep_the_entry,
                any_node_deregisters_an_id,
                a_claim_outlives_an_id_that_another_node_took_over,
                ids_outlive_a_planned_stop_and_a_long_downtime,
                concurrent_heartbeats_take_an_id_over_once,
                an_unavailable_store_affects_only_ids_of_other_nodes,
                an_invalid_id_causes_no_store_call,
            );
        }
    };
    (@each $module:ident $make:expr; $($name:ident),* $(,)?) => {
        $(#[multi_thread_test]
        async fn $name() {
            let (stores, _guard) = $make.await;
            $module::$name(stores).await;
        })*
    };
}

guarantees!(memory, async {
    let store: Arc<dyn skyhound_store::Store> = Arc::new(Embedded::in_memory().expect("a store in memory"));
    (Stores { one: Arc::clone(&store), two: store }, ())
});

guarantees!(disk, async {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn skyhound_store::Store> =
        Arc::new(Embedded::open(&dir.path().join("skyhound.redb")).expect("a store on disk"));
    (Stores { one: Arc::clone(&store), two: store }, dir)
});

guarantees!(etcd, async {
    let etcd = skyhound_test_support::etcd::EtcdProcess::start().await;
    let (one, two) = (connect(&etcd).await, connect(&etcd).await);
    (Stores { one, two }, etcd)
});

async fn connect(etcd: &skyhound_test_support::etcd::EtcdProcess) -> Arc<dyn skyhound_store::Store> {
    let settings = EtcdSettings { endpoints: vec![etcd.endpoint()], ..EtcdSettings::default() };
    Arc::new(Etcd::connect(settings).await.expect("settings that are right"))
}
