//! srsr on real sockets: its four endpoints, and the real client, `srsrpy`.

mod client;
mod endpoints;
mod ids;

use skyhound_test_support::multi_thread_test;
use skyhound_test_support::on_every_store;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::wait_until;
use std::time::Duration;

/// Waits until a condition holds, at least as long as the longest observation of a test.
///
/// A heartbeat timeout in these tests exceeds the time by which a busy machine may delay a heartbeat; otherwise the
/// instance would expire.
async fn until(mut condition: impl AsyncFnMut() -> bool) {
    wait_until(Duration::from_secs(30), async || if condition().await { Ok(()) } else { Err("it is not so yet") })
        .await;
}

on_every_store! {
    endpoints::an_instance_is_found_until_it_deregisters();
    endpoints::addresses_are_returned_as_they_were_registered();
    endpoints::lookups_follow_priority_and_weight();
    endpoints::invalid_requests_are_refused_with_a_reason();
    endpoints::a_deregistration_ends_one_registration();
    ids::missed_heartbeats_expire_exactly_that_instance("--timeout", "5");
    client::the_client_registers_renews_and_deregisters("--timeout", "4");
}

mod restart {
    use super::*;

    #[multi_thread_test]
    async fn an_id_outlives_the_daemon_on_disk() {
        ids::an_id_outlives_the_daemon(Site::disk(&["--timeout", "5"]).await).await;
    }

    #[multi_thread_test]
    async fn an_id_outlives_the_daemon_in_etcd() {
        ids::an_id_outlives_the_daemon(Site::etcd(&["--timeout", "5"]).await).await;
    }

    #[multi_thread_test]
    async fn the_client_outlives_the_daemon_on_disk() {
        client::outlives_the_daemon(Site::disk(&["--timeout", "5"]).await).await;
    }

    #[multi_thread_test]
    async fn any_daemon_takes_any_id() {
        ids::any_daemon_takes_any_id().await;
    }
}
