//! srsr on real sockets: its four endpoints, and the real client, `srsrpy`.

// The modules of a test are its own affair.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod endpoints;
mod ids;

use std::time::Duration;
use support::site::Site;
use support::stores::on_every_store;
use support::wait::wait_until;

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

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_id_outlives_the_daemon_on_disk() {
        ids::an_id_outlives_the_daemon(Site::disk(&["--timeout", "5"]).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_id_outlives_the_daemon_in_etcd() {
        ids::an_id_outlives_the_daemon(Site::etcd(&["--timeout", "5"]).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_client_outlives_the_daemon_on_disk() {
        client::outlives_the_daemon(Site::disk(&["--timeout", "5"]).await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn any_daemon_takes_any_id() {
        ids::any_daemon_takes_any_id().await;
    }
}
