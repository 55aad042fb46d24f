//! micro's sidecar: the real binary, with the requests of its clients.

mod ask;
mod broker;
mod cli;
mod nodes;
mod persistent;
mod queues;
mod registry;
mod rpc;
mod sidecar;
mod stats;

use skyhound_test_support::on_every_store;

on_every_store! {
    registry::a_registration_is_listed_and_in_dns_until_its_removal();
    registry::nodes_of_versions_and_of_other_frontends_are_listed();
    registry::invalid_registrations_are_refused_with_a_reason();
    persistent::a_persistent_registration_outlives_its_client_and_other_claims();
    persistent::a_lease_is_renewed_by_registering_again_and_expires_otherwise();
    persistent::concurrent_registrations_share_commits();
    broker::a_message_reaches_every_subscriber_of_its_topic();
    broker::a_client_that_publishes_without_a_pause_receives_every_message();
    broker::one_queue_member_receives_each_message();
    broker::invalid_requests_are_refused_with_a_reason();
}
