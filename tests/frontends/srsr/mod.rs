//! srsr on real sockets: its four endpoints, and the real client, `srsrpy`.

mod client;
mod endpoints;
mod ids;

use skyhound_test_support::multi_thread_test;
use skyhound_test_support::on_every_store;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::wait_until;
use std::time::Duration;

/// Waits until it is so. Long enough for the longest that a test looks on.
///
/// A timeout in here is for longer than a busy machine may keep a heartbeat back, or else it is found silent.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    wait_until(Duration::from_secs(30), async || if so().await { Ok(()) } else { Err("it is not so yet") }).await;
}

on_every_store! {
    endpoints::an_instance_is_found_until_it_says_goodbye();
    endpoints::addresses_are_said_again_as_they_were_said();
    endpoints::the_better_ones_are_found();
    endpoints::bad_requests_hear_why();
    endpoints::one_goodbye_is_one_instance();
    ids::silence_ends_exactly_that_instance("--timeout", "5");
    client::registers_lives_and_leaves("--timeout", "4");
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
