//! The main job, end to end: the real binary, real sockets, the real dig, on every store.
//!
//! A process holds a websocket on `/provide` and is in DNS exactly as long as it lives.

mod bad;
mod life;
mod ops;
mod stored;
mod verbs;

use skyhound_test_support::on_every_store;

on_every_store! {
    life::an_instance_is_in_dns_exactly_as_long_as_its_socket();
    life::priority_and_weight_are_answered();
    life::categories_and_prefix_make_the_name();
    life::no_host_is_the_peers_address();
    life::an_ipv6_peer_has_aaaa();
    life::registered_means_visible_at_once();
    life::an_update_changes_exactly_what_it_says();
    life::a_peer_that_does_not_answer_pings_is_gone_within_the_timeout("--timeout", "2");
    life::a_peer_that_answers_pings_stays("--timeout", "4");
    life::two_ports_of_one_service_are_two_instances();
    life::workers_of_one_address_share_an_instance();
    bad::invalid_registrations_are_rejected_with_a_reason();
    bad::invalid_handshakes_are_rejected_with_a_reason();
    bad::meaningless_frames_are_rejected_with_a_reason();
}
